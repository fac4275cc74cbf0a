-- Every statement of the Dagster side. A statement starts with `-- name:`, the comment below it says what it answers.
-- Parameters are written %(name)s::type, the type always, and are bound, never formatted in (see queries.py).

-- name: instruments
-- All instruments, also those no longer watched.
select instrument_id, venue, symbol, venue_symbol, kind, base, quote, tick_size, contract_size, is_active
from market.instruments
order by instrument_id;

-- name: trades
-- The trades of [start, end) that are judged, in no order: build_windows sorts at a fifth of the server's price.
select instrument_id, trade_id, time, occurred_at, received_at, price, size, aggressor, fills
from market.trades
where
    time >= %(start)s::timestamptz
    and time < %(end)s::timestamptz
    and not exists (
        select 1
        from surveillance.quarantined_facts as asides
        where
            asides.relation = 'market.trades'
            and asides.time = trades.time
            and asides.instrument_id = trades.instrument_id
            and asides.row_id = trades.trade_id
            and asides.time >= %(start)s::timestamptz
            and asides.time < %(end)s::timestamptz
            and asides.lifted_at is null
    );

-- name: quotes
-- The quotes of [start, end) that are judged, in no order.
select instrument_id, update_id, time, occurred_at, received_at, bid_price, bid_size, ask_price, ask_size
from market.quotes
where
    time >= %(start)s::timestamptz
    and time < %(end)s::timestamptz
    and not exists (
        select 1
        from surveillance.quarantined_facts as asides
        where
            asides.relation = 'market.quotes'
            and asides.time = quotes.time
            and asides.instrument_id = quotes.instrument_id
            and asides.row_id = quotes.update_id
            and asides.time >= %(start)s::timestamptz
            and asides.time < %(end)s::timestamptz
            and asides.lifted_at is null
    );

-- name: books
-- The books of [start, end) that are judged, in no order.
select instrument_id, update_id, time, occurred_at, received_at, bid_prices, bid_sizes, ask_prices, ask_sizes
from market.books
where
    time >= %(start)s::timestamptz
    and time < %(end)s::timestamptz
    and not exists (
        select 1
        from surveillance.quarantined_facts as asides
        where
            asides.relation = 'market.books'
            and asides.time = books.time
            and asides.instrument_id = books.instrument_id
            and asides.row_id = books.update_id
            and asides.time >= %(start)s::timestamptz
            and asides.time < %(end)s::timestamptz
            and asides.lifted_at is null
    );

-- name: book_flows
-- The book flows of [start, end) that are judged, in no order.
select
    instrument_id, side, distance_bps, is_partial, time, received_at, added, removed, cancelled, traded, adds, cancels,
    levels, largest_added, fleeting, withdrawn, withdrawn_life_us, layers, layered
from market.book_flows
where
    time >= %(start)s::timestamptz
    and time < %(end)s::timestamptz
    and not exists (
        select 1
        from surveillance.quarantined_facts as asides
        where
            asides.relation = 'market.book_flows'
            and asides.time = book_flows.time
            and asides.instrument_id = book_flows.instrument_id
            and asides.row_id
            = book_flows.distance_bps::bigint * 4 + (book_flows.side + 1) + book_flows.is_partial::integer
            and asides.time >= %(start)s::timestamptz
            and asides.time < %(end)s::timestamptz
            and asides.lifted_at is null
    );

-- name: reference_prices
-- The reference prices of [start, end) that are judged, in no order.
select
    instrument_id, time, occurred_at, received_at, mark_price, index_price, funding_rate, next_funding_at
from market.reference_prices
where
    time >= %(start)s::timestamptz
    and time < %(end)s::timestamptz
    and not exists (
        select 1
        from surveillance.quarantined_facts as asides
        where
            asides.relation = 'market.reference_prices'
            and asides.time = reference_prices.time
            and asides.instrument_id = reference_prices.instrument_id
            and asides.time >= %(start)s::timestamptz
            and asides.time < %(end)s::timestamptz
            and asides.lifted_at is null
    );

-- name: feed_gaps
-- The gaps that overlap [start, end).
select
    gap_id, venue, channel, instrument_id, started_at, ended_at, cause, detail, lost_events, repaired_at, relation
from market.feed_gaps
where ended_at > %(start)s::timestamptz and started_at < %(end)s::timestamptz
order by started_at, ended_at, venue, channel, relation, instrument_id, cause;

-- name: rejected_frames
-- The frames received in [start, end) that could not be parsed, without their bytes; and the facts of [start, end) that
-- are set aside, each as a frame received at its time.
select rejected_frame_id, venue, channel, instrument_id, received_at, error, frames
from market.rejected_frames
where received_at >= %(start)s::timestamptz and received_at < %(end)s::timestamptz
union all
select
    0 as rejected_frame_id, instruments.venue, asides.relation as channel, asides.instrument_id,
    asides.time as received_at, array_to_string(asides.reasons, ', ') as error, 1 as frames
from surveillance.quarantined_facts as asides
inner join market.instruments as instruments on asides.instrument_id = instruments.instrument_id
where
    asides.time >= %(start)s::timestamptz
    and asides.time < %(end)s::timestamptz
    and asides.relation in ('market.trades', 'market.quotes', 'market.books')
    and asides.lifted_at is null
order by received_at, venue, rejected_frame_id;

-- name: windows
-- The judged windows of [start, end).
select
    instrument_id, window_start, open, high, low, close, volume, buy_volume, sell_volume, notional, vwap, trade_count,
    quote_count, book_count, mid_close, spread_bps_mean, spread_bps_min, spread_bps_max, spread_bps_std,
    imbalance_mean, bid_depth_10bps, ask_depth_10bps, order_trade_ratio, latency_ms_mean, latency_ms_max,
    completeness, book_completeness, gap_seconds, refused_frames, trade_completeness, flow_seconds,
    partial_flow_seconds, flow_changes, bid_added_near, ask_added_near, bid_cancelled_near, ask_cancelled_near,
    bid_traded_near, ask_traded_near, bid_cancel_share, ask_cancel_share, bid_fleeting_near, ask_fleeting_near,
    bid_withdrawn_max, ask_withdrawn_max, bid_withdrawn_life_s, ask_withdrawn_life_s, bid_layered_max, ask_layered_max,
    bid_layers, ask_layers, buy_sweep_count, sell_sweep_count, matched_count, matched_volume, mark_close, index_close,
    funding_rate
from surveillance.windows
where window_start >= %(start)s::timestamptz and window_start < %(end)s::timestamptz
order by window_start, instrument_id;

-- name: past_windows
-- Of the windows of [start, end) what detectors hold later ones against.
select
    instrument_id, window_start, close, volume, buy_volume, sell_volume, trade_count, quote_count, book_count,
    spread_bps_mean, spread_bps_std, imbalance_mean, bid_depth_10bps, ask_depth_10bps, latency_ms_mean,
    completeness, book_completeness, trade_completeness, flow_changes, bid_traded_near, ask_traded_near,
    bid_withdrawn_max, ask_withdrawn_max,
    bid_layered_max, ask_layered_max, buy_sweep_count, sell_sweep_count, matched_count, matched_volume, mark_close,
    index_close, funding_rate
from surveillance.windows
where window_start >= %(start)s::timestamptz and window_start < %(end)s::timestamptz;

-- name: features
-- The features of [start, end).
select
    instrument_id, window_start, price, return_bps, return_z, price_z, price_z_samples, rsi_14, volatility_20_bps,
    volume_change, volume_z, spread_bps_mean, spread_bps_z, imbalance_mean, depth_imbalance, buy_share,
    order_trade_ratio, price_move_bps, completeness, warm_up
from surveillance.features
where window_start >= %(start)s::timestamptz and window_start < %(end)s::timestamptz
order by window_start, instrument_id;

-- name: correlations
-- The correlations of [start, end).
select window_start, instrument_a, instrument_b, correlation, correlation_slow
from surveillance.correlations
where window_start >= %(start)s::timestamptz and window_start < %(end)s::timestamptz
order by window_start;

-- name: scores
-- The scores of [start, end).
select instrument_id, window_start, model, model_id::text as model_id, score, threshold, reason
from surveillance.scores
where window_start >= %(start)s::timestamptz and window_start < %(end)s::timestamptz
order by window_start, instrument_id, model;

-- name: ledger_since
-- What was committed since the horizon: one row. Reads transactions below the oldest that still runs, so that none can
-- appear behind the cursor later; the next horizon is that transaction. `clock` is the database's. `beyond` has come
-- later than `late_horizon` microseconds after its time, on the clock of received data, and is not in `touched`; a gap
-- is never late, as it becomes known only when it ends. Facts that were set aside, or are judged again, by others than
-- the runs that build windows are touched as well.
with
fresh as (
    select
        touched,
        max_received_at,
        committed_at,
        case
            when relation in ('feed_gaps', 'rejected_frames') then '{}'
            else tstzmultirange(
                tstzrange(
                    null, max_received_at - %(late_horizon)s::text::bigint * interval '1 microsecond'
                )
            )
        end as too_late
    from ops.ingest_batches
    where
        xid >= %(horizon)s::text::xid8
        and xid < pg_snapshot_xmin(pg_current_snapshot())
),

asides as (
    select coalesce(range_agg(tstzrange(time, time, '[]')), '{}') as touched
    from surveillance.quarantined_facts
    where
        not is_judged
        and xid >= %(horizon)s::text::xid8
        and xid < pg_snapshot_xmin(pg_current_snapshot())
)

select
    pg_snapshot_xmin(pg_current_snapshot())::text as horizon,
    clock_timestamp() as clock,
    coalesce(range_agg(touched - too_late), '{}') + (select asides.touched from asides) as touched,
    coalesce(range_agg(touched * too_late), '{}') as beyond,
    max(max_received_at) as received_until,
    max(committed_at) as committed_at
from fresh;

-- name: lock_plan
-- Wait until nobody else takes a turn on this plan; held to the end of the transaction. An advisory lock takes no
-- transaction number, which would hide from `ledger_since` whatever is committed while we wait.
select pg_advisory_xact_lock(hashtext('ops.plans'), hashtext(%(plan)s::text));

-- name: plan_state
-- The memory of a plan: one row, or none where it has not begun.
select state::text as state
from ops.plans
where plan = %(plan)s::text;

-- name: keep_plan
-- Keep the memory of a plan, unless it is what is kept already: then nothing is written.
insert into ops.plans as plans (plan, state)
values (%(plan)s::text, %(state)s::jsonb)
on conflict (plan) do update set state = excluded.state, changed_at = clock_timestamp()
where plans.state <> excluded.state;

-- name: report_failed_range
-- Report a range that keeps failing, or bring its report up to date.
insert into surveillance.failed_ranges as known (
    hour, range_start, range_end, attempts, first_failed_at, run_id, error
)
values (
    %(hour)s::timestamptz, %(start)s::timestamptz, %(end)s::timestamptz, %(attempts)s::integer,
    %(since)s::timestamptz, %(run_id)s::text, %(error)s::text
)
on conflict (hour) where state = 'open' do update set
    range_start = excluded.range_start,
    range_end = excluded.range_end,
    attempts = excluded.attempts,
    last_failed_at = excluded.last_failed_at,
    run_id = excluded.run_id,
    error = excluded.error;

-- name: resolve_failed_ranges
-- Note that hours were judged after all: the reports that this resolves.
update surveillance.failed_ranges
set state = 'resolved', resolved_at = clock_timestamp()
where
    state = 'open'
    and hour = any(%(hours)s::timestamptz [])
returning hour, range_start, range_end, attempts;

-- name: open_failed_ranges
-- The reports that are not resolved, oldest first.
select hour, range_start, range_end, attempts, first_failed_at, last_failed_at, run_id, error
from surveillance.failed_ranges
where state = 'open'
order by hour;

-- name: note_late_hours
-- Note the windows that facts have touched too late to be judged live: they wait for a backfill.
with
spans as (
    select
        date_bin('5 seconds', lower(span), 'epoch') as low,
        date_bin('5 seconds', upper(span) - interval '1 microsecond', 'epoch') + interval '5 seconds' as high
    from unnest(%(beyond)s::tstzmultirange) as listed (span)
),

hours as (
    select
        started.hour,
        range_agg(
            tstzrange(greatest(spans.low, started.hour), least(spans.high, started.hour + interval '1 hour'))
        ) as touched
    from spans
    cross join lateral generate_series(
        date_bin('1 hour', spans.low, 'epoch'), spans.high - interval '1 microsecond', interval '1 hour'
    ) as started (hour)
    group by started.hour
)

insert into surveillance.late_hours as known (hour, touched)
select
    hour,
    touched
from hours
on conflict (hour) do update set
    touched = case when known.state = 'open' then known.touched + excluded.touched else excluded.touched end,
    state = 'open',
    run_id = null,
    judged_at = null,
    last_noticed_at = excluded.last_noticed_at;

-- name: claim_late_hours
-- Say, before their facts are read, that this run judges the late hours of [start, end) whole.
update surveillance.late_hours
set run_id = %(run_id)s::text
where
    hour >= %(start)s::timestamptz
    and hour < %(end)s::timestamptz
    and state = 'open'
returning hour;

-- name: settle_late_hours
-- Note that this run has judged the hours it claimed, unless more came for them since.
update surveillance.late_hours
set state = 'judged', judged_at = clock_timestamp()
where
    run_id = %(run_id)s::text
    and state = 'open'
returning hour;

-- name: ledger_edge
-- How far data has been received, from the newest batches of the ledger: one row, nulls where it is empty.
with
newest as (
    select max_received_at, committed_at
    from ops.ingest_batches
    order by xid desc
    limit 1000
)

select
    clock_timestamp() as clock,
    max(max_received_at) as received_until,
    max(committed_at) as committed_at
from newest;

-- name: keeping_up
-- Seconds of received data that are not judged yet: one row, or none before anything was received and judged.
with
newest as (
    select max_received_at
    from ops.ingest_batches
    order by xid desc
    limit 1000
),

edges as (
    select
        least(max(newest.max_received_at), clock_timestamp()) as received_until,
        (select max(scores.window_start) + interval '5 seconds' from surveillance.scores as scores) as judged_until
    from newest
    having count(*) > 0
)

select greatest(extract(epoch from received_until - judged_until), 0)::double precision as behind_s
from edges
where judged_until is not null;

-- name: note_latency
-- Keep the delays of the minutes that have ended since the last one kept, at most ten: the minutes.
insert into ops.latency_1m (minute, stage, samples, p50_s, p95_s, max_s)
select minutes.minute, delays.stage, delays.samples, delays.p50_s, delays.p95_s, delays.max_s
from generate_series(
    greatest(
        date_trunc('minute', clock_timestamp()) - interval '10 minutes',
        (select max(minute) + interval '1 minute' from ops.latency_1m)
    ),
    date_trunc('minute', clock_timestamp()) - interval '1 minute',
    interval '1 minute'
) as minutes (minute)
cross join lateral ops.latency(minutes.minute, minutes.minute + interval '1 minute') as delays
on conflict do nothing
returning minute;

-- name: dagster_sizes
-- Of Dagster's own database: bytes in all, of events, of runs, of ticks. One row.
select
    pg_database_size(current_database()) as database,
    coalesce(pg_total_relation_size(to_regclass('event_logs')), 0) as events,
    coalesce(pg_total_relation_size(to_regclass('runs')), 0)
    + coalesce(pg_total_relation_size(to_regclass('run_tags')), 0) as runs,
    coalesce(pg_total_relation_size(to_regclass('job_ticks')), 0) as ticks;

-- name: runs_counted_from
-- The hour from which on runs are to be counted: the one before the last that was counted, as a run may be seen late;
-- before the first, the one before this: of an earlier one, runs may be gone. One row.
select coalesce(max(hour), date_bin('1 hour', clock_timestamp(), '1970-01-01 00:00:00+00')) - interval '1 hour' as since
from ops.runs_1h;

-- name: count_runs
-- Keep what there is to say of runs that ended, a JSON array of objects, by hour, job and outcome: the hours. Where an
-- hour was counted with more runs, some have been pruned since: that stays.
insert into ops.runs_1h (hour, job, status, runs, waited_p50_s, waited_p95_s, ran_p50_s, ran_p95_s)
select
    date_bin('1 hour', ended_at, '1970-01-01 00:00:00+00'),
    job,
    status,
    count(*)::integer,
    percentile_disc(0.5) within group (order by waited_s),
    percentile_disc(0.95) within group (order by waited_s),
    percentile_disc(0.5) within group (order by ran_s),
    percentile_disc(0.95) within group (order by ran_s)
from json_to_recordset(%(runs)s::json) as ended (
    job text, status text, ended_at timestamptz, waited_s double precision, ran_s double precision
)
group by 1, 2, 3
on conflict (hour, job, status) do update set
runs = excluded.runs,
waited_p50_s = excluded.waited_p50_s,
waited_p95_s = excluded.waited_p95_s,
ran_p50_s = excluded.ran_p50_s,
ran_p95_s = excluded.ran_p95_s
where excluded.runs >= runs_1h.runs
returning hour;

-- name: note_sizes
-- Keep what each relation that grows takes on the disk this hour, and what Dagster's own data does, a JSON object of
-- bytes by name: the relations.
insert into ops.sizes_1h (hour, relation, bytes)
select
    date_bin('1 hour', clock_timestamp(), '1970-01-01 00:00:00+00'),
    measured.relation,
    measured.bytes
from (
    select
        relation,
        bytes
    from ops.sizes()
    union all
    select
        'dagster.' || key,
        value::bigint
    from json_each_text(%(dagster)s::json)
) as measured
on conflict (hour, relation) do update set bytes = excluded.bytes
returning relation;

-- name: lock_hour
-- Wait until no other session judges this hour of the relation.
select pg_advisory_lock(hashtext(%(relation)s::text), %(hour)s::integer);

-- name: unlock_hour
-- Let others judge this hour of the relation.
select pg_advisory_unlock(hashtext(%(relation)s::text), %(hour)s::integer);

-- name: lock_models_shared
-- Keep models from being registered while windows are scored.
select pg_advisory_lock_shared(hashtext('model.models'), 0);

-- name: unlock_models_shared
-- Let models be registered again.
select pg_advisory_unlock_shared(hashtext('model.models'), 0);

-- name: lock_models
-- Wait until nothing is being scored; held to the end of the transaction.
select pg_advisory_xact_lock(hashtext('model.models'), 0);

-- name: lock_alerts
-- Wait until nobody else settles alerts; held to the end of the transaction. An alert may lie over several hours.
select pg_advisory_xact_lock(hashtext('surveillance.alerts'), 0);

-- name: standing_alerts
-- The alerts that opened in [start, end) and are not retracted.
select alert_id::text as alert_id, detector, detector_version, instrument_id, window_start, last_window_start
from surveillance.alerts
where
    window_start >= %(start)s::timestamptz
    and window_start < %(end)s::timestamptz
    and state <> 'retracted';

-- name: firings
-- The findings of [start, end) without their evidence; of the detectors, versions and instruments in `reaching`, as JSON,
-- those before it too, from `since` on.
select detector, detector_version, instrument_id, window_start, severity, score, completeness
from surveillance.findings
where window_start >= %(start)s::timestamptz and window_start < %(end)s::timestamptz
union all
select
    findings.detector,
    findings.detector_version,
    findings.instrument_id,
    findings.window_start,
    findings.severity,
    findings.score,
    findings.completeness
from jsonb_to_recordset(%(reaching)s::jsonb) as reaching (
    detector text, detector_version integer, instrument_id smallint, since timestamptz
)
-- By the primary key, an alert at a time, however the planner weighs a scan of the whole table.
cross join lateral (
    select
        stored.detector,
        stored.detector_version,
        stored.instrument_id,
        stored.window_start,
        stored.severity,
        stored.score,
        stored.completeness
    from surveillance.findings as stored
    where
        stored.detector = reaching.detector
        and stored.detector_version = reaching.detector_version
        and stored.instrument_id = reaching.instrument_id
        and stored.window_start >= reaching.since
        and stored.window_start < %(start)s::timestamptz
    offset 0
) as findings;

-- name: findings_of
-- The findings of these detectors, instruments and windows, as JSON, whole.
select
    findings.detector,
    findings.detector_version,
    findings.instrument_id,
    findings.window_start,
    findings.severity,
    findings.score,
    findings.threshold,
    findings.summary,
    findings.evidence::text as evidence,
    findings.evidence_level,
    findings.completeness,
    findings.model_id::text as model_id,
    findings.code_hash,
    findings.config_hash
from jsonb_to_recordset(%(wanted)s::jsonb) as wanted (detector text, instrument_id smallint, window_start timestamptz)
inner join surveillance.findings as findings
    on
        wanted.detector = findings.detector
        and wanted.instrument_id = findings.instrument_id
        and wanted.window_start = findings.window_start;

-- name: record_alerts
-- Make surveillance.alerts say what was judged: one row of counts. New alerts open, known ones grow and keep their state,
-- retracted ones that hold again reopen, those in `withdrawn` are retracted, each for the alert that has its windows now.
-- Every change of state is a row in surveillance.alert_events; taking back and reopening say why.
with
judged as (
    select * from jsonb_to_recordset(%(alerts)s::jsonb) as judged (
        alert_id uuid,
        detector text,
        detector_version integer,
        instrument_id smallint,
        window_start timestamptz,
        window_end timestamptz,
        raised_at timestamptz,
        severity text,
        score double precision,
        threshold double precision,
        summary text,
        evidence jsonb,
        evidence_level text,
        completeness double precision,
        model_id uuid,
        code_hash text,
        config_hash text,
        last_window_start timestamptz,
        closes_at timestamptz,
        windows_fired integer,
        peak_score double precision,
        peak_window_start timestamptz
    )
),

gone as (
    select * from jsonb_to_recordset(%(withdrawn)s::jsonb) as gone (alert_id uuid, superseded_by uuid)
),

known as (
    select
        alerts.alert_id, alerts.state, alerts.window_start, alerts.last_window_start, alerts.code_hash,
        alerts.config_hash
    from surveillance.alerts as alerts
    inner join judged on alerts.alert_id = judged.alert_id
),

written as (
    insert into surveillance.alerts as alerts (
        alert_id, detector, detector_version, instrument_id, window_start, window_end, raised_at, severity, score,
        threshold, summary, evidence, evidence_level, completeness, model_id, code_hash, config_hash,
        last_window_start, closes_at, windows_fired, peak_score, peak_window_start
    )
    select
        alert_id, detector, detector_version, instrument_id, window_start, window_end, raised_at, severity, score,
        threshold, summary, evidence, evidence_level, completeness, model_id, code_hash, config_hash,
        last_window_start, closes_at, windows_fired, peak_score, peak_window_start
    from judged
    on conflict (alert_id) do update set
        raised_at = excluded.raised_at,
        severity = excluded.severity,
        score = excluded.score,
        threshold = excluded.threshold,
        summary = excluded.summary,
        evidence = excluded.evidence,
        evidence_level = excluded.evidence_level,
        completeness = excluded.completeness,
        model_id = excluded.model_id,
        code_hash = excluded.code_hash,
        config_hash = excluded.config_hash,
        last_window_start = excluded.last_window_start,
        closes_at = excluded.closes_at,
        windows_fired = excluded.windows_fired,
        peak_score = excluded.peak_score,
        peak_window_start = excluded.peak_window_start,
        superseded_by = null,
        changed_at = clock_timestamp(),
        state = case when alerts.state = 'retracted' then 'open' else alerts.state end
    where
        alerts.state = 'retracted'
        or (
            alerts.severity, alerts.score, alerts.threshold, alerts.summary, alerts.evidence, alerts.evidence_level,
            alerts.completeness, alerts.model_id, alerts.code_hash, alerts.config_hash, alerts.last_window_start,
            alerts.closes_at, alerts.windows_fired, alerts.peak_score, alerts.peak_window_start
        ) is distinct from (
            excluded.severity, excluded.score, excluded.threshold, excluded.summary, excluded.evidence,
            excluded.evidence_level, excluded.completeness, excluded.model_id, excluded.code_hash,
            excluded.config_hash, excluded.last_window_start, excluded.closes_at, excluded.windows_fired,
            excluded.peak_score, excluded.peak_window_start
        )
    returning alerts.alert_id
),

withdrawn as (
    update surveillance.alerts as alerts
    set
        state = 'retracted',
        superseded_by = gone.superseded_by,
        incident_id = null,
        changed_at = clock_timestamp()
    from gone
    where
        alerts.alert_id = gone.alert_id
        and alerts.state <> 'retracted'
    returning
        alerts.alert_id, alerts.window_start, alerts.last_window_start, alerts.code_hash, alerts.config_hash,
        alerts.superseded_by
),

turned as (
    select withdrawn.*, 'retracted' as event
    from withdrawn
    union all
    select
        known.alert_id, known.window_start, known.last_window_start, known.code_hash, known.config_hash,
        null::uuid as superseded_by, 'reopened' as event
    from known
    where known.state = 'retracted'
),

-- What has come since the alert last changed that touches what its windows look back on, and, where it opens earlier now,
-- what comes before them.
late as (
    select
        turned.alert_id,
        array_agg(batches.batch_id order by batches.batch_id) as batch_ids,
        string_agg(distinct batches.relation, ', ' order by batches.relation) as relations,
        max(batches.committed_at) as committed_at
    from turned
    inner join ops.ingest_batches as batches
        on
            batches.touched && tstzrange(
                turned.window_start
                - %(lookback)s::interval
                - case when turned.superseded_by is null then '0' else %(cool_down)s::interval end,
                turned.last_window_start + interval '5 seconds'
            )
            and batches.committed_at > (
                select max(life.occurred_at)
                from surveillance.alert_events as life
                where life.alert_id = turned.alert_id
            )
    group by turned.alert_id
),

reasons as (
    select
        turned.alert_id,
        turned.event,
        jsonb_build_object(
            'late_batches', coalesce(to_jsonb(late.batch_ids), '[]'),
            'code_changed', turned.code_hash <> %(code_hash)s::text,
            'thresholds_changed', turned.config_hash <> %(config_hash)s::text
        )
        || case
            when turned.superseded_by is null then '{}'
            else jsonb_build_object('superseded_by', turned.superseded_by)
        end as cause,
        concat_ws(
            ', ',
            'superseded by ' || turned.superseded_by,
            case
                when cardinality(late.batch_ids) > 5 then
                    format(
                        'late data: batches %%s and %%s more (%%s)',
                        array_to_string(late.batch_ids[:5], ', '), cardinality(late.batch_ids) - 5, late.relations
                    )
                else
                    'late data: batches ' || array_to_string(late.batch_ids, ', ') || ' (' || late.relations || ')'
            end,
            case when turned.code_hash <> %(code_hash)s::text then 'judged by other code' end,
            case when turned.config_hash <> %(config_hash)s::text then 'judged with other thresholds' end
        ) as reason
    from turned
    left join late on turned.alert_id = late.alert_id
),

changes as (
    select written.alert_id, 'opened' as event, null::jsonb as cause, %(note)s::text as note
    from written
    where not exists (select 1 from known where known.alert_id = written.alert_id)
    union all
    select
        reasons.alert_id,
        reasons.event,
        reasons.cause,
        coalesce(nullif(reasons.reason, ''), 'what its window looks back on was judged again')
        || ', ' || %(note)s::text
    from reasons
),

noted as (
    insert into surveillance.alert_events (alert_id, event, actor, note, cause)
    select alert_id, event, %(actor)s::text, note, cause
    from changes
    returning event
)

select
    count(*) filter (where event = 'opened') as opened,
    count(*) filter (where event = 'reopened') as reopened,
    count(*) filter (where event = 'retracted') as retracted,
    (select count(*) from written) as written
from noted;

-- name: alert_spans
-- The alerts on these assets that opened in [start, end) and are not retracted.
select
    alerts.alert_id::text as alert_id,
    instruments.base,
    instruments.venue,
    alerts.instrument_id,
    alerts.detector,
    alerts.severity,
    alerts.window_start,
    alerts.last_window_start
from surveillance.alerts as alerts
inner join market.instruments as instruments on alerts.instrument_id = instruments.instrument_id
where
    alerts.window_start >= %(start)s::timestamptz
    and alerts.window_start < %(end)s::timestamptz
    and alerts.state <> 'retracted'
    and instruments.base = any(%(bases)s::text []);

-- name: known_incidents
-- The incidents of these assets that began in [start, end).
select incident_id::text as incident_id, base, started_at, ended_at
from surveillance.incidents
where
    base = any(%(bases)s::text [])
    and started_at >= %(start)s::timestamptz
    and started_at < %(end)s::timestamptz;

-- name: record_incidents
-- Make surveillance.incidents say what alerts come to: those given are stored, those in `gone` are not any more.
with
judged as (
    select * from jsonb_to_recordset(%(incidents)s::jsonb) as judged (
        incident_id uuid,
        base text,
        started_at timestamptz,
        ended_at timestamptz,
        severity text,
        alert_ids uuid [],
        detectors text [],
        venues text [],
        instrument_ids smallint []
    )
),

written as (
    insert into surveillance.incidents as incidents (
        incident_id, base, started_at, ended_at, severity, alert_ids, detectors, venues, instrument_ids
    )
    select incident_id, base, started_at, ended_at, severity, alert_ids, detectors, venues, instrument_ids
    from judged
    on conflict (incident_id) do update set
        ended_at = excluded.ended_at,
        severity = excluded.severity,
        alert_ids = excluded.alert_ids,
        detectors = excluded.detectors,
        venues = excluded.venues,
        instrument_ids = excluded.instrument_ids,
        changed_at = clock_timestamp()
    where
        (
            incidents.ended_at, incidents.severity, incidents.alert_ids, incidents.detectors, incidents.venues,
            incidents.instrument_ids
        ) is distinct from (
            excluded.ended_at, excluded.severity, excluded.alert_ids, excluded.detectors, excluded.venues,
            excluded.instrument_ids
        )
),

members as (
    select judged.incident_id, member.alert_id
    from judged
    cross join lateral unnest(judged.alert_ids) as member (alert_id)
),

joined as (
    update surveillance.alerts as alerts
    set incident_id = members.incident_id
    from members
    where alerts.alert_id = members.alert_id and alerts.incident_id is distinct from members.incident_id
),

parted as (
    update surveillance.alerts as alerts
    set incident_id = null
    where
        alerts.incident_id = any(%(gone)s::uuid [])
        and not exists (select 1 from members where members.alert_id = alerts.alert_id)
),

removed as (
    delete from surveillance.incidents as incidents
    where incidents.incident_id = any(%(gone)s::uuid [])
    returning incidents.incident_id
)

select
    (select count(*) from judged) as incidents,
    (select count(*) from removed) as removed;

-- name: newest_scored
-- The start of the newest window that a model was asked about, or null.
select max(window_start) as window_start
from surveillance.scores;

-- name: feature_span
-- The first and the last window with features, or nulls: one row.
select
    min(window_start) as first_window,
    max(window_start) as last_window
from surveillance.features;

-- name: register_model
-- Store a model; nothing happens if one of this name takes force at the same window.
insert into model.models (
    model_id, model, trained_from, trained_through, effective_from, feature_names, parameters, threshold, samples,
    artefact, artefact_sha256, library_versions
)
values (
    %(model_id)s::uuid, %(model)s::text, %(trained_from)s::timestamptz, %(trained_through)s::timestamptz,
    %(effective_from)s::timestamptz, %(feature_names)s::text [], %(parameters)s::jsonb,
    %(threshold)s::double precision, %(samples)s::bigint, %(artefact)s::bytea, %(artefact_sha256)s::text,
    %(library_versions)s::jsonb
)
on conflict (model, effective_from) do nothing
returning model_id::text as model_id;

-- name: models_for
-- The models that judge windows of [start, end): the one in force at the start, and those that take force later.
select model_id::text as model_id, effective_from, artefact
from model.models
where
    model = %(model)s::text
    and effective_from < %(end)s::timestamptz
    and effective_from >= coalesce(
        (
            select max(earlier.effective_from)
            from model.models as earlier
            where earlier.model = %(model)s::text and earlier.effective_from <= %(start)s::timestamptz
        ),
        '-infinity'
    )
order by effective_from;

-- name: model_need
-- Whether a first model is wanted: whether one is stored, and what there is to learn from. One row.
select
    exists(select 1 from model.models where model = %(model)s::text) as is_stored,
    count(*) filter (where warm_up is null) as samples,
    min(window_start) as first_window,
    max(window_start) as last_window
from surveillance.features;

-- name: rollups
-- The continuous aggregates of schema rollup, and which of them each is made of.
select name, reads
from rollup.continuous_aggregates
order by name;

-- name: rollups_are_stale
-- Whether facts were committed or set aside that some rollup has not seen, or one was never filled: one row.
select exists(
    select 1
    from rollup.continuous_aggregates as aggregates
    where
        aggregates.refreshed_to is null
        or exists(
            select 1
            from ops.ingest_batches as batches
            where
                batches.xid >= aggregates.refreshed_to
                and batches.xid < pg_snapshot_xmin(pg_current_snapshot())
                and batches.relation = any(aggregates.facts)
        )
        or exists(
            select 1
            from surveillance.quarantined_facts as asides
            where
                asides.xid >= aggregates.refreshed_to
                and asides.xid < pg_snapshot_xmin(pg_current_snapshot())
                and split_part(asides.relation, '.', 2) = any(aggregates.facts)
        )
) as are_stale;

-- name: stale_buckets
-- Who keeps a rollup up to date, and the spans of its buckets that are not: `stale` by facts that came, `set_aside` by
-- facts whose quarantine changed. One row.
select
    aggregates.is_native,
    found.horizon::text as horizon,
    found.stale,
    found.set_aside
from rollup.continuous_aggregates as aggregates
cross join lateral rollup.stale_buckets(aggregates.name) as found
where aggregates.name = %(name)s::text;

-- name: refresh_rollup
-- Make the stale buckets of a rollup anew: one row.
select rollup.refresh(%(name)s::text) as rows;

-- name: refresh_native_rollup
-- Have TimescaleDB make the stale buckets of [start, end) anew; a null is for ever.
call refresh_continuous_aggregate(
    format('rollup.%%I', %(name)s::text)::regclass, %(start)s::timestamptz, %(end)s::timestamptz
);

-- name: rebuild_native_rollup
-- Have TimescaleDB make every bucket of [start, end) anew, stale or not; a null is for ever.
call refresh_continuous_aggregate(
    format('rollup.%%I', %(name)s::text)::regclass, %(start)s::timestamptz, %(end)s::timestamptz, force => true
);

-- name: rollup_refreshed
-- Note how far a rollup that TimescaleDB keeps is up to date.
update rollup.continuous_aggregates
set refreshed_to = %(horizon)s::text::xid8, refreshed_at = clock_timestamp()
where name = %(name)s::text
returning name;

-- name: rebuild_rollup
-- Forget how far a rollup is up to date, so that all of it is to be made anew: one row.
update rollup.continuous_aggregates
set refreshed_to = null
where name = %(name)s::text
returning is_native, pg_snapshot_xmin(pg_current_snapshot())::text as horizon;

-- name: facts_of_rollup
-- The bucket of the first fact that a rollup is made of; null where there are none: one row.
select date_bin(aggregates.bucket_width, facts.low, '1970-01-01 00:00:00+00') as first_bucket
from rollup.continuous_aggregates as aggregates
cross join lateral rollup.span_of_facts(aggregates.facts) as facts
where aggregates.name = %(name)s::text;

-- name: expiring
-- The relations that grow with time: what removes rows that are too old (a policy, chunks, rows) and from when on they are
-- kept (null: for ever).
select relation, before, removed_by from ops.expiring();

-- name: drop_expired_chunk
-- Drop the oldest chunk that is expired as a whole: its name and size, no row where there is none.
select chunk, bytes from ops.drop_expired_chunk(%(relation)s::text);

-- name: expired_blocks
-- The first blocks of the stretches of `pages` blocks with expired rows.
select expired.block from ops.expired_blocks(%(relation)s::text, %(pages)s::integer) as expired (block);

-- name: delete_expired
-- Delete the expired rows of a stretch of blocks; how many there were.
select ops.delete_expired(%(relation)s::text, %(block)s::bigint, %(pages)s::integer) as deleted;

-- name: summarize_again
-- Let the relation's block-range indexes forget what was deleted from a stretch of blocks.
select ops.summarize_again(%(relation)s::text, %(block)s::bigint, %(pages)s::integer);

-- name: facts_are_gone
-- Whether [start, end) was judged, begins before facts are kept, and none of them is left: one row.
select
    exists (
        select from surveillance.windows
        where window_start >= %(start)s::timestamptz and window_start < %(end)s::timestamptz
    )
    and exists (
        select from ops.expiring()
        where relation = 'market.trades' and before > %(start)s::timestamptz
    )
    and not exists (
        select from market.trades where time >= %(start)s::timestamptz and time < %(end)s::timestamptz
    )
    and not exists (
        select from market.quotes where time >= %(start)s::timestamptz and time < %(end)s::timestamptz
    )
    and not exists (
        select from market.books where time >= %(start)s::timestamptz and time < %(end)s::timestamptz
    ) as are_gone;

-- name: judged_alerts
-- The alerts opened in [start, end) that people have closed, and as what.
select detector, instrument_id, window_start, last_window_start, disposition
from surveillance.alerts
where
    disposition is not null
    and window_start >= %(start)s::timestamptz
    and window_start < %(end)s::timestamptz
order by window_start, instrument_id, detector;
