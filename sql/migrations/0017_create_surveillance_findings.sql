-- Findings: one row for each window in which a detector fires. An alert is a session of them: it opens at the first,
-- grows while they follow one another within the detector's cool-down, and says how grave they were at most.
create table surveillance.findings (
    detector text not null,
    detector_version integer not null,
    instrument_id smallint not null,
    window_start timestamptz not null,
    severity text not null check (severity in ('info', 'warning', 'critical')),
    score double precision not null,
    threshold double precision not null,
    summary text not null,
    evidence jsonb not null,
    evidence_level text not null check (evidence_level in ('trades', 'L1', 'L2', 'derived')),
    completeness double precision not null check (completeness between 0 and 1),
    model_id uuid,
    code_hash text not null,
    config_hash text not null,
    computed_at timestamptz not null default clock_timestamp(),
    primary key (detector, instrument_id, window_start)
);
create index findings_window_start on surveillance.findings (window_start);
comment on table surveillance.findings is 'A window in which a detector fires. Alerts are made of them.';

alter table surveillance.alerts
add column last_window_start timestamptz,
add column closes_at timestamptz,
add column windows_fired integer,
add column peak_score double precision,
add column peak_window_start timestamptz,
add column superseded_by uuid references surveillance.alerts (alert_id),
add column changed_at timestamptz not null default clock_timestamp();

-- What was raised before there were findings fired once, as far as is known.
update surveillance.alerts set
    last_window_start = window_start,
    closes_at = window_end + interval '5 minutes',
    windows_fired = 1,
    peak_score = score,
    peak_window_start = window_start;

alter table surveillance.alerts
alter column last_window_start set not null,
alter column closes_at set not null,
alter column windows_fired set not null,
alter column peak_score set not null,
alter column peak_window_start set not null;

comment on column surveillance.alerts.last_window_start is 'Start of the last window that fired.';
comment on column surveillance.alerts.closes_at is
'A window that fires joins the alert if it ends no later than this: once data is past it, the alert is over.';
comment on column surveillance.alerts.superseded_by is
'Of a retracted alert whose windows belong to another one now: that alert.';
comment on column surveillance.alerts.changed_at is 'When what was judged of it, or its state, changed last.';
