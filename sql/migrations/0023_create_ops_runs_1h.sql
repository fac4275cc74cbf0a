-- What an operator asks of the past and nothing else remembers: Dagster's runs are pruned, a size is of now alone.
create table ops.runs_1h (
    hour timestamptz not null,
    job text not null,
    status text not null check (status in ('success', 'failure', 'canceled')),
    runs integer not null,
    waited_p50_s double precision,
    waited_p95_s double precision,
    ran_p50_s double precision,
    ran_p95_s double precision,
    primary key (hour, job, status)
);
comment on table ops.runs_1h is
'Dagster''s runs that ended in the hour, by job and outcome, counted before they are pruned; the newest hour so far.';
comment on column ops.runs_1h.waited_p50_s is
'From the making of a run to its start, seconds; null where none of them started.';
comment on column ops.runs_1h.ran_p50_s is
'From the start of a run to its end, seconds; null where none of them started.';

create table ops.sizes_1h (
    hour timestamptz not null,
    relation text not null,
    bytes bigint not null,
    primary key (hour, relation)
);
comment on table ops.sizes_1h is 'ops.sizes as measured last in the hour, and what Dagster''s own data takes.';
comment on column ops.sizes_1h.relation is 'schema.table; dagster.database and dagster.files: Dagster''s own data.';
