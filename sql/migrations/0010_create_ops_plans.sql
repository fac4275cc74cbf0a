-- The memory of sentinet_dagster/planning.py, a row a plan: what is dirty, what is being judged. The sensor and the
-- push listener take turns on it under an advisory lock; what one has claimed the other finds claimed.
create table ops.plans (
    plan text primary key,
    state jsonb not null,
    changed_at timestamptz not null default clock_timestamp()
);
