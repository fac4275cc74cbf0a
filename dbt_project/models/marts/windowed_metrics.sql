with
instruments as (
    select * from {{ ref('stg_market__instruments') }}
    where is_active
),

newest as (
    select max(bucket) as bucket from {{ ref('quote_spreads_1m') }}
),

spans (minutes, span) as (
    values
    (1, '01 min'),
    (5, '05 min'),
    (15, '15 min'),
    (60, '60 min')
),

trades as (
    select
        bars.instrument_id,
        spans.minutes,
        (array_agg(bars.open order by bars.bucket))[1] as open,
        (array_agg(bars.close order by bars.bucket desc))[1] as close,
        max(bars.high) as high,
        min(bars.low) as low,
        sum(bars.notional) as notional,
        sum(bars.trade_count) as trade_count,
        sum(bars.buy_volume) / nullif(sum(bars.volume), 0) as buy_share
    from {{ ref('trade_bars_1m') }} as bars
    cross join newest
    inner join spans on bars.bucket > newest.bucket - make_interval(mins => spans.minutes)
    where bars.bucket > newest.bucket - interval '60 minutes'
    group by 1, 2
),

quotes as (
    select
        bars.instrument_id,
        spans.minutes,
        avg(bars.spread_bps_mean) as spread_bps_mean,
        max(bars.spread_bps_max) as spread_bps_max,
        avg(bars.order_imbalance) as order_imbalance,
        sum(bars.quote_count) as quote_count
    from {{ ref('quote_spreads_1m') }} as bars
    cross join newest
    inner join spans on bars.bucket > newest.bucket - make_interval(mins => spans.minutes)
    where bars.bucket > newest.bucket - interval '60 minutes'
    group by 1, 2
)

select
    instruments.instrument_id,
    instruments.venue,
    instruments.symbol,
    {{ instrument_of('instruments') }} as instrument,
    spans.span,
    newest.bucket as as_of,
    (trades.close / trades.open - 1) * 100 as change_percent,
    (trades.high / trades.low - 1) * 1e4 as range_bps,
    trades.notional,
    coalesce(trades.trade_count, 0)::bigint as trade_count,
    trades.buy_share,
    quotes.spread_bps_mean,
    quotes.spread_bps_max,
    quotes.order_imbalance,
    quotes.quote_count::double precision / greatest(coalesce(trades.trade_count, 0), 1) as quote_trade_ratio
from instruments
cross join spans
cross join newest
inner join quotes on instruments.instrument_id = quotes.instrument_id and spans.minutes = quotes.minutes
left join trades on instruments.instrument_id = trades.instrument_id and spans.minutes = trades.minutes
