-- What more detectors need of a window: orders so large that each took several resting ones at once, the first sign
-- of a pump (docs/adr/0004); trades that undo each other; reference prices. Windows that are stored already have none; a
-- backfill brings theirs.
alter table surveillance.windows
add column buy_sweep_count integer not null default 0,
add column sell_sweep_count integer not null default 0,
add column matched_count integer not null default 0,
add column matched_volume double precision not null default 0,
add column mark_close double precision,
add column index_close double precision,
add column funding_rate double precision;
