-- What an operator must know of the judging: ranges that keep failing, and facts that came too late to be judged live.

create table surveillance.failed_ranges (
    failed_range_id bigint generated always as identity primary key,
    hour timestamptz not null,
    range_start timestamptz not null,
    range_end timestamptz not null,
    attempts integer not null,
    first_failed_at timestamptz not null,
    last_failed_at timestamptz not null default clock_timestamp(),
    run_id text,
    error text not null,
    state text not null default 'open' check (state in ('open', 'resolved')),
    resolved_at timestamptz
);
create unique index failed_ranges_open on surveillance.failed_ranges (hour) where state = 'open';
comment on table surveillance.failed_ranges is
'Ranges whose judging failed several times in a row. They are tried again for ever; resolved: it has succeeded.';
comment on column surveillance.failed_ranges.run_id is 'The newest failed run; null: Dagster never heard of it.';

create table surveillance.late_hours (
    hour timestamptz primary key,
    touched tstzmultirange not null,
    state text not null default 'open' check (state in ('open', 'judged')),
    run_id text,
    first_noticed_at timestamptz not null default clock_timestamp(),
    last_noticed_at timestamptz not null default clock_timestamp(),
    judged_at timestamptz
);
comment on table surveillance.late_hours is
'Hours with facts received later than SENTINET_LATE_HORIZON after their time: they wait for a backfill.';
comment on column surveillance.late_hours.touched is 'The windows with such facts, since the last backfill.';
comment on column surveillance.late_hours.run_id is 'The backfill that has read them, or is reading them.';

-- Why an alert was retracted or reopened: which batches came since.
alter table surveillance.alert_events add column cause jsonb;
comment on column surveillance.alert_events.cause is
'Of retracted and reopened: {late_batches: [batch_id], code_changed, thresholds_changed}.';
create index ingest_batches_touched on ops.ingest_batches using gist (touched);
