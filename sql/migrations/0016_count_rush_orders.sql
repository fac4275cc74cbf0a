-- Orders so large that each took several resting ones at once: the first sign of a pump (docs/adr/0004). Windows that
-- are stored already have none; a backfill counts theirs.
alter table surveillance.windows
add column buy_sweep_count integer not null default 0,
add column sell_sweep_count integer not null default 0;
