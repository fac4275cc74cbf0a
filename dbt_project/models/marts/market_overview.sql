with
instruments as (
    select * from {{ ref('stg_market__instruments') }}
    where is_active
),

newest as (
    select max(bucket) as bucket from {{ ref('trade_bars_1m') }}
),

-- One pass over a day of bars, however many instruments there are.
day as (
    select
        bars.instrument_id,
        (array_agg(bars.open order by bars.bucket))[1] as open,
        max(bars.high) as high,
        min(bars.low) as low,
        sum(bars.volume) as volume,
        sum(bars.notional) as notional,
        sum(bars.trade_count)::bigint as trade_count
    from {{ ref('trade_bars_1m') }} as bars
    inner join newest on bars.bucket > newest.bucket - interval '1 day'
    group by bars.instrument_id
),

alerts as (
    select
        alerts.instrument_id,
        count(*) as alerts_24h,
        count(*) filter (where alerts.severity = 'critical') as critical_alerts_24h,
        count(*) filter (where alerts.state in ('open', 'acknowledged', 'escalated')) as unresolved_alerts_24h
    from {{ source('surveillance', 'alerts') }} as alerts
    inner join newest on alerts.window_start > newest.bucket - interval '1 day'
    where alerts.state <> 'retracted'
    group by alerts.instrument_id
)

select
    instruments.instrument_id,
    instruments.venue,
    instruments.symbol,
    instruments.kind,
    newest.bucket as as_of,
    last_bar.bucket as last_traded_at,
    last_bar.close as last_price,
    (last_bar.close / day.open - 1) * 100 as change_24h_percent,
    day.high as high_24h,
    day.low as low_24h,
    day.volume as volume_24h,
    day.notional as notional_24h,
    day.trade_count as trade_count_24h,
    last_quotes.spread_bps_mean,
    last_quotes.liquidity_score,
    last_quotes.order_imbalance,
    quality.completeness as completeness_1h,
    coalesce(alerts.alerts_24h, 0) as alerts_24h,
    coalesce(alerts.critical_alerts_24h, 0) as critical_alerts_24h,
    coalesce(alerts.unresolved_alerts_24h, 0) as unresolved_alerts_24h
from instruments
cross join newest
left join day on instruments.instrument_id = day.instrument_id
left join lateral (
    select
        bars.bucket,
        bars.close
    from {{ ref('trade_bars_1m') }} as bars
    where bars.instrument_id = instruments.instrument_id
    order by bars.bucket desc
    limit 1
) as last_bar on true
-- Of the table under quote_bars_1m: the last row of a view is found by reading all of it.
left join lateral (
    select
        bars.spread_bps_mean,
        1000 / nullif(bars.spread_bps_mean, 0) as liquidity_score,
        bars.order_imbalance
    from {{ ref('quote_spreads_1m') }} as bars
    where bars.instrument_id = instruments.instrument_id
    order by bars.bucket desc
    limit 1
) as last_quotes on true
left join lateral (
    select hours.completeness
    from {{ ref('feed_quality_1h') }} as hours
    where hours.instrument_id = instruments.instrument_id
    order by hours.bucket desc
    limit 1
) as quality on true
left join alerts on instruments.instrument_id = alerts.instrument_id
