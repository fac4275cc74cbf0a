{#- The picture's arithmetic is here: what draws it has none. x is 0 to 59 from the oldest minute to the newest; y, 0 to
    100 from the top, over the instrument's own range. What has no height is still drawn. -#}
with
newest as (
    select
        instrument_id,
        max(bucket) as bucket
    from {{ ref('trade_bars_1m') }}
    group by 1
),

bars as (
    select
        bars.*,
        59 - (extract(epoch from newest.bucket - bars.bucket) / 60)::integer as x,
        max(bars.high) over everything as greatest,
        min(bars.low) over everything as least,
        max(bars.high) over everything - min(bars.low) over everything as span,
        max(bars.volume) over everything as greatest_volume
    from {{ ref('price_bars_1m') }} as bars
    inner join newest
        on
            bars.instrument_id = newest.instrument_id
            and bars.bucket > newest.bucket - interval '60 minutes'
    window everything as (partition by bars.instrument_id)
)

select
    instrument_id,
    venue,
    symbol,
    instrument,
    bucket,
    open,
    high,
    low,
    close,
    volume,
    close >= open as is_up,
    x,
    greatest as range_high,
    least as range_low,
    coalesce((greatest - high) / nullif(span, 0) * 100, 50) as wick_top,
    coalesce((high - low) / nullif(span, 0) * 100, 0) as wick_height,
    coalesce((greatest - greatest(open, close)) / nullif(span, 0) * 100, 50) as body_top,
    coalesce(greatest(abs(open - close) / nullif(span, 0) * 100, 0.5), 0.5) as body_height,
    (1 - volume / greatest_volume) * 100 as volume_top,
    volume / greatest_volume * 100 as volume_height
from bars
