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
    minutes of the averages, 50 of the signal line, 60 for which a price is carried through minutes without trades.
    One pass after the other and no joins: of rows that are made on the way the planner knows no number. -#}
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

bars_and_holes as (
    select
        instrument_id,
        bucket,
        close
    from bars
    union all
    select
        spans.instrument_id,
        minute.bucket,
        null as close
    from spans
    cross join lateral generate_series(spans.first_bucket, spans.last_bucket, interval '1 minute') as minute (bucket)
),

minutes as (
    select
        instrument_id,
        bucket,
        max(close) as traded_price
    from bars_and_holes
    group by 1, 2
),

last_trades as (
    select
        instrument_id,
        bucket,
        traded_price,
        max(bucket) filter (where traded_price is not null) over (
            partition by instrument_id order by bucket rows between 59 preceding and current row
        ) as traded_at
    from minutes
),

carried as (
    select
        instrument_id,
        bucket,
        traded_price,
        max(traded_price) over (partition by instrument_id, traded_at) as price
    from last_trades
),

prices as (
    select
        instrument_id,
        bucket,
        traded_price,
        price,
        price - lag(price) over (partition by instrument_id order by bucket) as change
    from carried
),

averages as (
    select
        instrument_id,
        bucket,
        traded_price,
        case when count(price) over last_20 = 20 then avg(price) over last_20 end as sma_20,
        case when count(price) over last_20 = 20 then stddev_pop(price) over last_20 end as sigma_20,
        case when count(price) over last_50 = 50 then avg(price) over last_50 end as sma_50,
        case when count(price) over last_200 = 200 then avg(price) over last_200 end as sma_200,
        case when count(change) over last_14 = 14 then sum(greatest(change, 0)) over last_14 end as gains,
        case when count(change) over last_14 = 14 then sum(abs(change)) over last_14 end as moves,
        case when count(price) over last_12 = 12 then array_agg(price) over last_200 end as last_prices,
        count(price) over last_26 = 26 as has_26
    from prices
    window
        last_12 as (partition by instrument_id order by bucket rows between 11 preceding and current row),
        last_14 as (partition by instrument_id order by bucket rows between 13 preceding and current row),
        last_20 as (partition by instrument_id order by bucket rows between 19 preceding and current row),
        last_26 as (partition by instrument_id order by bucket rows between 25 preceding and current row),
        last_50 as (partition by instrument_id order by bucket rows between 49 preceding and current row),
        last_200 as (partition by instrument_id order by bucket rows between 199 preceding and current row)
),

weighted as (
    select
        averages.instrument_id,
        averages.bucket,
        averages.traded_price,
        averages.sma_20,
        averages.sigma_20,
        averages.sma_50,
        averages.sma_200,
        averages.gains,
        averages.moves,
        means.ema_12,
        case when averages.has_26 then means.ema_26 end as ema_26,
        case when averages.has_26 then means.ema_12 - means.ema_26 end as macd
    from averages
    cross join
        lateral (
            select
                {{ weighted_mean('past.price', 'cardinality(averages.last_prices) - past.number', 12) }} as ema_12,
                {{ weighted_mean('past.price', 'cardinality(averages.last_prices) - past.number', 26) }} as ema_26
            from unnest(averages.last_prices) with ordinality as past (price, number)
            where past.price is not null
        ) as means
    where {{ in_range('averages.bucket', look_back='49 minutes') }}
),

convergences as (
    select
        *,
        case when count(macd) over last_9 = 9 then array_agg(macd) over last_50 end as last_macds
    from weighted
    window
        last_9 as (partition by instrument_id order by bucket rows between 8 preceding and current row),
        last_50 as (partition by instrument_id order by bucket rows between 49 preceding and current row)
)

select
    convergences.instrument_id,
    convergences.bucket,
    convergences.traded_price as close,
    convergences.sma_20,
    convergences.sma_50,
    convergences.sma_200,
    convergences.ema_12,
    convergences.ema_26,
    convergences.macd,
    signals.macd_signal,
    convergences.macd - signals.macd_signal as macd_histogram,
    case
        when convergences.moves > 0 then 100 * convergences.gains / convergences.moves
        else convergences.moves + 50
    end as rsi_14,
    convergences.sigma_20,
    convergences.sma_20 + 2 * convergences.sigma_20 as bollinger_upper,
    convergences.sma_20 - 2 * convergences.sigma_20 as bollinger_lower
from convergences
cross join
    lateral (
        select {{ weighted_mean('past.macd', 'cardinality(convergences.last_macds) - past.number', 9) }} as macd_signal
        from unnest(convergences.last_macds) with ordinality as past (macd, number)
        where past.macd is not null
    ) as signals
where convergences.traded_price is not null and {{ in_range('convergences.bucket') }}
