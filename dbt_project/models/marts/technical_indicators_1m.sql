{{
    config(
        materialized='continuous_aggregate',
        native=false,
        bucket_width='1 minute',
        facts=['trades'],
        look_ahead='6 hours'
    )
}}

{#- A value stands on the bars of the 6 hours before it and on nothing else, wherever the computation begins: 200
    minutes of the averages, 50 of the signal line, 60 for which a price is carried through minutes without trades. -#}
with
bars as (
    select
        instrument_id,
        bucket,
        close
    from {{ ref('trade_bars_1m') }}
    where {{ in_range('bucket', look_back='6 hours') }}
),

spans as (
    select
        instrument_id,
        min(bucket) as first_bucket,
        max(bucket) as last_bucket
    from bars
    group by 1
),

minutes as (
    select
        spans.instrument_id,
        minute.bucket
    from spans
    cross join lateral generate_series(spans.first_bucket, spans.last_bucket, interval '1 minute') as minute (bucket)
),

last_trades as (
    select
        minutes.instrument_id,
        minutes.bucket,
        bars.bucket is not null as has_bar,
        max(bars.bucket) over (
            partition by minutes.instrument_id order by minutes.bucket rows between 59 preceding and current row
        ) as traded_at
    from minutes
    left join bars on minutes.instrument_id = bars.instrument_id and minutes.bucket = bars.bucket
),

prices as (
    select
        last_trades.instrument_id,
        last_trades.bucket,
        last_trades.has_bar,
        bars.close,
        bars.close - lag(bars.close) over (
            partition by last_trades.instrument_id order by last_trades.bucket
        ) as change
    from last_trades
    left join bars on last_trades.instrument_id = bars.instrument_id and last_trades.traded_at = bars.bucket
),

averages as (
    select
        instrument_id,
        bucket,
        has_bar,
        close,
        case when count(close) over last_20 = 20 then avg(close) over last_20 end as sma_20,
        case when count(close) over last_20 = 20 then stddev_pop(close) over last_20 end as sigma_20,
        case when count(close) over last_50 = 50 then avg(close) over last_50 end as sma_50,
        case when count(close) over last_200 = 200 then avg(close) over last_200 end as sma_200,
        case when count(change) over last_14 = 14 then sum(greatest(change, 0)) over last_14 end as gains,
        case when count(change) over last_14 = 14 then sum(abs(change)) over last_14 end as moves
    from prices
    window
        last_14 as (partition by instrument_id order by bucket rows between 13 preceding and current row),
        last_20 as (partition by instrument_id order by bucket rows between 19 preceding and current row),
        last_50 as (partition by instrument_id order by bucket rows between 49 preceding and current row),
        last_200 as (partition by instrument_id order by bucket rows between 199 preceding and current row)
),

weighted as (
    select
        minutes.instrument_id,
        minutes.bucket,
        case
            when count(past.close) filter (where ages.age < 12) = 12
                then {{ weighted_mean('past.close', 'ages.age', 12) }}
        end as ema_12,
        case
            when count(past.close) filter (where ages.age < 26) = 26
                then {{ weighted_mean('past.close', 'ages.age', 26) }}
        end as ema_26
    from minutes
    cross join generate_series(0, 199) as ages (age)
    inner join prices as past
        on
            minutes.instrument_id = past.instrument_id
            and minutes.bucket - ages.age * interval '1 minute' = past.bucket
            and past.close is not null
    where {{ in_range('minutes.bucket', look_back='49 minutes') }}
    group by 1, 2
),

signals as (
    select
        weighted.instrument_id,
        weighted.bucket,
        case
            when count(*) filter (where ages.age < 9) = 9
                then {{ weighted_mean('(past.ema_12 - past.ema_26)', 'ages.age', 9) }}
        end as macd_signal
    from weighted
    cross join generate_series(0, 49) as ages (age)
    inner join weighted as past
        on
            weighted.instrument_id = past.instrument_id
            and weighted.bucket - ages.age * interval '1 minute' = past.bucket
            and past.ema_26 is not null
    where {{ in_range('weighted.bucket') }}
    group by 1, 2
)

select
    averages.instrument_id,
    averages.bucket,
    averages.close,
    averages.sma_20,
    averages.sma_50,
    averages.sma_200,
    weighted.ema_12,
    weighted.ema_26,
    weighted.ema_12 - weighted.ema_26 as macd,
    signals.macd_signal,
    weighted.ema_12 - weighted.ema_26 - signals.macd_signal as macd_histogram,
    case when averages.moves > 0 then 100 * averages.gains / averages.moves else averages.moves + 50 end as rsi_14,
    averages.sigma_20,
    averages.sma_20 + 2 * averages.sigma_20 as bollinger_upper,
    averages.sma_20 - 2 * averages.sigma_20 as bollinger_lower
from averages
left join weighted on averages.instrument_id = weighted.instrument_id and averages.bucket = weighted.bucket
left join signals on averages.instrument_id = signals.instrument_id and averages.bucket = signals.bucket
where averages.has_bar and {{ in_range('averages.bucket') }}
