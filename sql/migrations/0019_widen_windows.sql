-- What more detectors need of a window: orders so large that each took several resting ones at once, the first sign
-- of a pump (docs/adr/0008); trades that undo each other; reference prices. Windows that are stored already have none;
-- a backfill brings theirs.
alter table surveillance.windows
add column buy_sweep_count integer not null default 0,
add column sell_sweep_count integer not null default 0,
add column matched_count integer not null default 0,
add column matched_volume double precision not null default 0,
add column mark_close double precision,
add column index_close double precision,
add column funding_rate double precision;

-- What rests on how data arrives: feed_gap, feed_latency.
alter table surveillance.findings
drop constraint findings_evidence_level_check,
add constraint findings_evidence_level_check check (evidence_level in ('trades', 'L1', 'L2', 'derived', 'feed'));
alter table surveillance.alerts
drop constraint alerts_evidence_level_check,
add constraint alerts_evidence_level_check check (evidence_level in ('trades', 'L1', 'L2', 'derived', 'feed'));
