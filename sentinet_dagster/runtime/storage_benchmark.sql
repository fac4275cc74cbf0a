-- What `sentinet benchmark storage` fills its own database with, and the analysts' ten questions that it times there.
-- Same form as sentinet_dagster/queries.sql: `-- name:`, what it does, %(parameters)s with their type. Numbers are drawn by
-- hash: the same on every server. `start` and `end` are the span of the facts; `step` is the microseconds from one row to
-- the next.

-- name: make_instruments
-- Six bases, each as spot and as a perpetual.
insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote)
select
    'synthetic',
    format('B%%s-USDT%%s', base, suffix),
    format('B%%sUSDT%%s', base, suffix),
    kind,
    format('B%%s', base),
    'USDT'
from generate_series(1, 6) as bases (base)
cross join (values ('', 'spot'), ('-PERP', 'perpetual')) as kinds (suffix, kind)
order by base, kind;

-- name: make_trades
-- Trades `first` to `last`, in order of time; the first instruments trade most.
insert into market.trades (
    instrument_id, trade_id, time, occurred_at, received_at, price, size, aggressor, fills
)
select
    (1 + least(draw & 15, (draw >> 4) & 15, 11))::smallint,
    n,
    at,
    at,
    at + interval '30 ms',
    (10 * (1 + least(draw & 15, (draw >> 4) & 15, 11)))
    * (1 + 0.05 * sin(n * %(step)s::double precision / 3.6e10) + ((draw >> 8) & 1023) / 1e6),
    (1 + ((draw >> 18) & 1023)) / 100.0,
    (1 - 2 * ((draw >> 28) & 1))::smallint,
    1
from generate_series(%(first)s::bigint, %(last)s::bigint) as numbers (n)
cross join lateral (
    select
        hashint8extended(n, 0) & 9223372036854775807,
        %(start)s::timestamptz + trunc(n * %(step)s::double precision) * interval '1 microsecond'
) as drawn (draw, at);

-- name: make_quotes
-- Quotes `first` to `last`, in order of time.
insert into market.quotes (
    instrument_id, update_id, time, occurred_at, received_at, bid_price, bid_size, ask_price, ask_size
)
select
    (1 + draw %% 12)::smallint,
    n,
    at,
    at,
    at + interval '30 ms',
    mid * (1 - half),
    (1 + ((draw >> 18) & 1023)) / 100.0,
    mid * (1 + half),
    (1 + ((draw >> 28) & 1023)) / 100.0
from generate_series(%(first)s::bigint, %(last)s::bigint) as numbers (n)
cross join lateral (
    select
        hashint8extended(n, 1) & 9223372036854775807,
        %(start)s::timestamptz + trunc(n * %(step)s::double precision) * interval '1 microsecond'
) as drawn (draw, at)
cross join lateral (
    select
        (10 * (1 + draw %% 12)) * (1 + 0.05 * sin(n * %(step)s::double precision / 3.6e10)),
        (1 + ((draw >> 8) & 1023)) / 2e6
) as priced (mid, half);

-- name: make_reference_prices
-- A mark price of every perpetual and minute.
insert into market.reference_prices (
    instrument_id, time, occurred_at, received_at, mark_price, index_price, funding_rate
)
select
    instruments.instrument_id,
    minute,
    minute,
    minute + interval '30 ms',
    10 * instruments.instrument_id,
    10 * instruments.instrument_id,
    0.0001
from market.instruments as instruments
cross join generate_series(%(start)s::timestamptz, %(end)s::timestamptz, interval '1 minute') as minutes (minute)
where instruments.kind = 'perpetual';

-- name: make_gaps
-- A gap of a minute in every hour, of one instrument in turn.
insert into market.feed_gaps (venue, instrument_id, started_at, ended_at, cause)
select
    'synthetic',
    1 + extract(hour from hour)::integer %% 12,
    hour,
    hour + interval '1 minute',
    'disconnected'
from generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 hour', interval '1 hour') as hours (hour);

-- name: make_correlations
-- The matrix of every window of the last day.
insert into surveillance.correlations (window_start, instrument_a, instrument_b, correlation, correlation_slow)
select
    window_start,
    array_agg(a::smallint order by a, b),
    array_agg(b::smallint order by a, b),
    array_agg(cos(a * b + extract(epoch from window_start) / 1e4) order by a, b),
    array_agg(cos(a * b + extract(epoch from window_start) / 1e5) order by a, b)
from generate_series(
    %(end)s::timestamptz - interval '1 day', %(end)s::timestamptz - interval '5 seconds', interval '5 seconds'
) as windows (window_start)
cross join generate_series(1, 12) as first_ones (a)
cross join generate_series(1, 12) as second_ones (b)
where a < b
group by window_start;

-- name: make_alerts
-- An alert a minute, a third of them closed.
insert into surveillance.alerts (
    alert_id, detector, detector_version, instrument_id, window_start, window_end, raised_at, severity, score, threshold,
    summary, evidence, evidence_level, completeness, code_hash, config_hash, state, last_window_start,
    closes_at, windows_fired, peak_score, peak_window_start
)
select
    md5(minute::text)::uuid,
    (array['spoofing', 'volatility_spike', 'spread_stress', 'pump_and_dump'])[1 + (draw & 3)],
    1,
    1 + (draw >> 2) %% 12,
    minute,
    minute + interval '5 seconds',
    minute + interval '8 seconds',
    (array['info', 'warning', 'critical'])[1 + (draw >> 8) %% 3],
    5 + (draw & 1023) / 100.0,
    5,
    'made by the benchmark',
    jsonb_build_object('price_z', (draw & 1023) / 100.0, 'tick_range', jsonb_build_array(minute, minute)),
    'trades',
    1,
    'benchmark',
    'benchmark',
    case when (draw >> 12) %% 3 = 0 then 'closed' else 'open' end,
    minute,
    minute + interval '1 minute',
    1,
    5 + (draw & 1023) / 100.0,
    minute
from generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 minute', interval '1 minute')
    as minutes (minute)
cross join lateral (select hashint8extended(extract(epoch from minute)::bigint, 2) & 9223372036854775807) as drawn (draw);

-- name: make_alert_events
-- The life of those alerts.
insert into surveillance.alert_events (alert_id, event, actor, occurred_at)
select alert_id, 'opened', 'benchmark', raised_at
from surveillance.alerts
union all
select alert_id, 'closed', 'benchmark', raised_at + interval '10 minutes'
from surveillance.alerts
where state = 'closed';

-- name: make_ledger
-- The ledger's row of facts that were written: what tells rollups which buckets are stale.
insert into ops.ingest_batches (venue, relation, rows, duplicates, bytes, touched, max_received_at)
values (
    'synthetic',
    %(relation)s::text,
    %(rows)s::integer,
    0,
    0,
    tstzmultirange(tstzrange(%(start)s::timestamptz, %(end)s::timestamptz)),
    %(end)s::timestamptz
);

-- name: summarize_time_indexes
-- What autovacuum does for the block-range indexes of a database that grows slowly.
select sum(brin_summarize_new_values(classes.oid::regclass)) as ranges
from pg_class as classes
inner join pg_am as methods on classes.relam = methods.oid
where methods.amname = 'brin' and classes.relkind = 'i';

-- name: size_of_trades
-- How big market.trades is, with its index.
select sizes.bytes
from ops.sizes() as sizes
where sizes.relation = 'market.trades';

-- name: database_bytes
-- How big this database is.
select pg_database_size(current_database());

-- name: chunks_of_trades
-- The chunks of market.trades.
select show_chunks('market.trades')::text as chunk;

-- name: to_columnstore
-- Store a chunk by columns (TimescaleDB's community edition, 2.18 or newer).
call convert_to_columnstore(%(chunk)s::regclass, if_not_columnstore => true);

-- name: ask_bars_of_a_symbol_over_30_days
-- A chart: hourly bars of one symbol.
select bars.bucket, bars.open, bars.high, bars.low, bars.close, bars.volume, bars.vwap
from rollup.trade_bars_1h as bars
inner join market.instruments as instruments on bars.instrument_id = instruments.instrument_id
where
    instruments.symbol = 'B1-USDT'
    and bars.bucket >= %(start)s::timestamptz
    and bars.bucket < %(end)s::timestamptz
order by bars.bucket;

-- name: ask_last_alerts
-- What was found last.
select alerts.raised_at, alerts.detector, alerts.severity, alerts.summary, instruments.symbol
from surveillance.alerts as alerts
inner join market.instruments as instruments on alerts.instrument_id = instruments.instrument_id
order by alerts.raised_at desc
limit 50;

-- name: ask_correlation_matrix
-- The newest matrix, by names.
select symbol_a, symbol_b, correlation, correlation_slow
from rollup.correlation_latest;

-- name: ask_spread_monitor
-- The last hour's spreads: anomalies, and when to trade.
select symbol, bucket, spread_bps_mean, max_to_mean, is_anomaly, is_favourable
from rollup.spread_monitor
where bucket >= %(end)s::timestamptz - interval '1 hour'
order by bucket, symbol;

-- name: ask_gaps_of_a_day
-- What is missing of the last day.
select venue, instrument_id, channel, cause, started_at, ended_at, lost_events
from market.feed_gaps
where ended_at > %(end)s::timestamptz - interval '1 day' and started_at < %(end)s::timestamptz
order by started_at;

-- name: ask_trades_around_an_alert
-- The evidence: trades of an instrument that trades much from half a minute before an alert on, for a minute. Its time is a
-- value, as whoever shows an alert has it: with one that comes out of a join, plain PostgreSQL reads all that the
-- instrument ever traded.
select trades.time, trades.trade_id, trades.price, trades.size, trades.aggressor
from market.trades as trades
inner join market.instruments as instruments on trades.instrument_id = instruments.instrument_id
where
    instruments.symbol = 'B1-USDT'
    and trades.time >= %(middle)s::timestamptz - interval '30 seconds'
    and trades.time < %(middle)s::timestamptz + interval '30 seconds'
order by trades.time, trades.trade_id;

-- name: ask_top_movers
-- Whose price has moved most in 24 hours.
select symbol, last_price, change_24h_percent, volume_24h
from rollup.market_overview
order by abs(change_24h_percent) desc nulls last
limit 10;

-- name: ask_feed_quality
-- How whole the last day's data is, by instrument.
select
    instrument_id,
    avg(completeness) as completeness,
    sum(gap_seconds) as gap_seconds,
    max(latency_ms_max) as latency_ms_max
from rollup.feed_quality_1h
where bucket >= %(end)s::timestamptz - interval '1 day'
group by instrument_id
order by instrument_id;

-- name: ask_basis
-- One perpetual against spot, index and mark over the last day.
select basis.bucket, basis.basis_spot_bps, basis.basis_index_bps, basis.basis_mark_bps, basis.funding_rate
from rollup.basis_1m as basis
inner join market.instruments as instruments on basis.instrument_id = instruments.instrument_id
where instruments.symbol = 'B1-USDT-PERP' and basis.bucket >= %(end)s::timestamptz - interval '1 day'
order by basis.bucket;

-- name: ask_alert_outcomes
-- What became of 30 days' alerts, by detector and hour.
select detector, hour, alerts, in_progress, closed, seconds_to_close_mean
from rollup.alert_outcomes
where hour >= %(start)s::timestamptz
order by hour, detector;
