-- What `sentinet` tells about a running Sentinet: the alerts, the flow, the state of the market. Reads only.
-- Same form as sentinet_dagster/queries.sql: `-- name:`, what it answers, %(parameters)s with their type.

-- name: alerts
-- The alerts that fit every filter given (null: any), newest first. `instrument`: a symbol, or venue/symbol.
select
    alerts.alert_id, alerts.detector, alerts.detector_version, instruments.venue, instruments.symbol as instrument,
    alerts.instrument_id,
    alerts.severity, alerts.state, alerts.score, alerts.threshold, alerts.summary, alerts.window_start,
    alerts.window_end, alerts.raised_at, alerts.evidence, alerts.evidence_level, alerts.completeness,
    alerts.model_id, alerts.code_hash, alerts.config_hash, alerts.created_at, alerts.last_window_start,
    alerts.closes_at, alerts.windows_fired, alerts.peak_score, alerts.peak_window_start, alerts.superseded_by,
    alerts.changed_at, alerts.disposition, alerts.incident_id, cardinality(incidents.alert_ids) as incident_alerts,
    surveillance.snoozed_until(alerts.detector, alerts.instrument_id, alerts.raised_at) as snoozed_until,
    -- What is over: everything is judged up to where nothing can join it any more.
    alerts.closes_at <= (select max(windows.window_start) from surveillance.windows as windows) as is_over
from surveillance.alerts as alerts
inner join market.instruments as instruments on alerts.instrument_id = instruments.instrument_id
left join surveillance.incidents as incidents on alerts.incident_id = incidents.incident_id
where
    (%(detector)s::text is null or alerts.detector = %(detector)s::text)
    and (
        %(instrument)s::text is null
        or upper(%(instrument)s::text) in (
            upper(instruments.symbol), upper(instruments.venue || '/' || instruments.symbol)
        )
    )
    and (%(severity)s::text is null or alerts.severity = %(severity)s::text)
    and (%(since)s::timestamptz is null or alerts.raised_at >= %(since)s::timestamptz)
    and (%(state)s::text is null or alerts.state = %(state)s::text)
    and (%(id_prefix)s::text is null or alerts.alert_id::text like %(id_prefix)s::text || '%%')
    and (%(incident)s::text is null or alerts.incident_id::text like %(incident)s::text || '%%')
order by alerts.raised_at desc, alerts.detector asc, instruments.symbol asc, alerts.alert_id asc
limit %(limit)s::bigint;

-- name: alert_life
-- What happened to an alert and to those that it took the place of, oldest first.
with recursive
line as (
    select alerts.alert_id
    from surveillance.alerts as alerts
    where alerts.alert_id = %(alert_id)s::uuid
    union
    select alerts.alert_id
    from surveillance.alerts as alerts
    inner join line on alerts.superseded_by = line.alert_id
)

select events.alert_id, events.event, events.actor, events.login, events.note, events.cause, events.occurred_at
from surveillance.alert_events as events
inner join line on events.alert_id = line.alert_id
order by events.alert_event_id;

-- name: alert_chart
-- The windows of an instrument in [start, end): price, spread, imbalance.
select
    features.window_start,
    features.price,
    features.spread_bps_mean as spread_bps,
    features.imbalance_mean as imbalance,
    features.completeness
from surveillance.features as features
where
    features.instrument_id = %(instrument_id)s::smallint
    and features.window_start >= %(start)s::timestamptz
    and features.window_start < %(end)s::timestamptz
order by features.window_start;

-- name: events_around
-- The trades and quotes of an instrument in [start, end), in their order, at most `limit`.
with
trades as (
    select time, 'trade' as kind, trade_id as number, price, size, aggressor as side
    from market.trades
    where
        instrument_id = %(instrument_id)s::smallint
        and time >= %(start)s::timestamptz
        and time < %(end)s::timestamptz
),

quotes as (
    select time, 'quote' as kind, update_id as number, bid_price, bid_size, ask_price, ask_size
    from market.quotes
    where
        instrument_id = %(instrument_id)s::smallint
        and time >= %(start)s::timestamptz
        and time < %(end)s::timestamptz
)

select
    time, kind, number, price, size, side,
    null::float8 as bid_price, null::float8 as bid_size, null::float8 as ask_price, null::float8 as ask_size
from trades
union all
select
    time, kind, number, null::float8 as price, null::float8 as size, null::smallint as side,
    bid_price, bid_size, ask_price, ask_size
from quotes
order by time, kind, number
limit %(limit)s::bigint;

-- name: firings
-- The windows since `since` in which detectors fired, and when that was first on record: an alert is not written again
-- when its windows are judged again, its findings are.
select
    findings.detector,
    instruments.venue,
    instruments.symbol as instrument,
    findings.window_start + interval '5 seconds' as window_end,
    coalesce(alerts.created_at, findings.computed_at) as seen_at
from surveillance.findings as findings
inner join market.instruments as instruments on findings.instrument_id = instruments.instrument_id
left join surveillance.alerts as alerts
    on
        findings.detector = alerts.detector
        and findings.instrument_id = alerts.instrument_id
        and findings.window_start = alerts.window_start
        and alerts.state <> 'retracted'
where findings.window_start >= %(since)s::timestamptz
order by findings.window_start, findings.detector, instruments.venue, instruments.symbol;

-- name: instrument_numbers
-- The instruments of a name: a symbol, or venue/symbol, in any case.
select instrument_id
from market.instruments
where upper(%(instrument)s::text) in (upper(symbol), upper(venue || '/' || symbol))
order by instrument_id;

-- name: failed_ranges
-- The ranges that keep failing, oldest first.
select range_start, range_end, attempts, first_failed_at, last_failed_at, run_id, error
from surveillance.failed_ranges
where state = 'open'
order by range_start;

-- name: late_hours
-- The hours that wait for a backfill because facts came too late, oldest first, with the windows they touched.
select
    late.hour,
    late.last_noticed_at,
    (
        select sum((extract(epoch from upper(span) - lower(span)) / 5)::integer)::integer
        from unnest(late.touched) as span
    ) as windows
from surveillance.late_hours as late
where late.state = 'open'
order by late.hour;

-- name: latency
-- How long live judging took in the last `span`, by stage: samples, and seconds.
select stage, samples, p50_s, p95_s, max_s
from ops.latency(clock_timestamp() - %(span)s::interval, clock_timestamp());

-- name: has_latency
-- Whether the database is migrated as far as to say how long judging takes.
select to_regprocedure('ops.latency(timestamptz, timestamptz)') is not null as has_latency;

-- name: feeds
-- Of every venue with facts or gaps: rows in all, rows committed in the last `span`, seconds since the last commit,
-- gaps on record.
with written as (
    select
        venue,
        sum(rows) as rows,
        sum(rows) filter (where committed_at > clock_timestamp() - %(span)s::interval) as rows_of_span,
        extract(epoch from clock_timestamp() - max(committed_at)) as silent_s
    from ops.ingest_batches
    group by venue
),

missing as (
    select venue, count(*) as gaps
    from market.feed_gaps
    group by venue
)

select
    coalesce(written.venue, missing.venue) as venue,
    coalesce(written.rows, 0)::bigint as rows,
    coalesce(written.rows_of_span, 0)::bigint as rows_of_span,
    written.silent_s::double precision as silent_s,
    coalesce(missing.gaps, 0) as gaps
from written
full join missing on written.venue = missing.venue
order by 1;

-- name: edition
-- Which PostgreSQL this is, what of TimescaleDB it has (null: nothing), and how big the database is.
select
    current_setting('server_version') as postgresql,
    (select extversion from pg_extension where extname = 'timescaledb') as timescaledb,
    current_setting('timescaledb.license', true) as timescaledb_license,
    pg_database_size(current_database()) as bytes;

-- name: storage
-- Every relation that grows with time: its size in bytes, for how long it is kept (null: for ever), what removes the rest,
-- and, of what is in the columnstore, its size before and after.
select
    expiring.relation,
    sizes.bytes,
    sizes.rowstore_bytes,
    sizes.columnstore_bytes,
    expiring.removed_by,
    expiring.keep
from ops.expiring() as expiring
inner join ops.sizes() as sizes on expiring.relation = sizes.relation
order by expiring.relation;

-- name: has_storage
-- Whether the database is migrated as far as to say how it stores.
select to_regprocedure('ops.sizes()') is not null as has_storage;

-- name: last_batch
-- The number of the newest batch of the ledger; 0 where there is none.
select coalesce(max(batch_id), 0) as batch_id
from ops.ingest_batches;

-- name: short_lived
-- Of the facts that batches after `batch` brought: the first of those that are too old to be kept, for how long facts are
-- kept, and what removes the rest. Nulls where all of them stay: one row.
select
    min(lower(batches.touched)) as first_fact,
    min(expiring.keep) as keep,
    min(expiring.removed_by) as removed_by
from ops.ingest_batches as batches
inner join ops.expiring() as expiring
    on
        'market.' || batches.relation = expiring.relation
        and lower(batches.touched) < expiring.before
where batches.batch_id > %(batch)s::bigint;

-- name: market_state
-- The last judged window of every instrument watched, and the prices of the windows since `since`, oldest first.
with recent as (
    select
        instrument_id,
        window_start,
        price,
        spread_bps_mean,
        price_z,
        completeness,
        row_number() over (partition by instrument_id order by window_start desc) as recency
    from surveillance.features
    where window_start >= %(since)s::timestamptz
),

charts as (
    select instrument_id, array_agg(price order by window_start) as prices
    from recent
    where price is not null
    group by instrument_id
)

select
    instruments.venue,
    instruments.symbol,
    recent.window_start,
    recent.price,
    recent.spread_bps_mean,
    recent.price_z,
    recent.completeness,
    charts.prices
from market.instruments as instruments
left join recent on instruments.instrument_id = recent.instrument_id and recent.recency = 1
left join charts on instruments.instrument_id = charts.instrument_id
where instruments.is_active
order by instruments.symbol, instruments.venue;

-- name: progress
-- How far the judgement has come since `since`: windows judged, the newest of them, the first that a model judges.
select
    (
        select count(distinct window_start) from surveillance.features
        where window_start >= %(since)s::timestamptz
    ) as windows,
    (
        select max(window_start) from surveillance.features
        where window_start >= %(since)s::timestamptz
    ) as newest,
    (select min(effective_from) from model.models) as model_from;

-- name: row_to_alert
-- Seconds from the commit of the last fact an alert's window was judged on to the commit of the alert, for the alerts
-- of windows from `since` on. What was committed after the window was computed did not take part in the verdict.
select
    alerts.alert_id,
    extract(epoch from alerts.created_at - max(batches.committed_at))::double precision as seconds
from surveillance.alerts as alerts
inner join surveillance.windows as windows
    on alerts.instrument_id = windows.instrument_id and alerts.window_start = windows.window_start
inner join market.instruments as instruments on alerts.instrument_id = instruments.instrument_id
inner join ops.ingest_batches as batches
    on
        instruments.venue = batches.venue
        and batches.touched && tstzrange(alerts.window_start, alerts.window_end)
        and batches.committed_at <= least(alerts.created_at, windows.computed_at)
where alerts.window_start >= %(since)s::timestamptz
group by alerts.alert_id, alerts.created_at
order by alerts.created_at;
