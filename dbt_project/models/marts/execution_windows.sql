with
newest as (
    select max(bucket) as bucket from {{ ref('quote_spreads_1m') }}
),

-- Minutes that follow one another are equally far from their number.
minutes as (
    select
        chances.*,
        chances.bucket - interval '1 minute'
        * row_number() over (partition by chances.instrument_id order by chances.bucket) as island
    from {{ ref('spread_monitor') }} as chances
    inner join newest on chances.bucket > newest.bucket - interval '1 day'
    where chances.is_favourable
)

select
    minutes.instrument_id,
    minutes.venue,
    minutes.symbol,
    {{ instrument_of('minutes') }} as instrument,
    min(minutes.bucket) as started_at,
    max(minutes.bucket) + interval '1 minute' as ended_at,
    count(*) as minutes,
    avg(minutes.spread_bps_mean) as spread_bps_mean,
    avg(minutes.order_imbalance) as order_imbalance
from minutes
group by minutes.instrument_id, minutes.venue, minutes.symbol, minutes.island
