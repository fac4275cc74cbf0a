{{ config(materialized='continuous_aggregate', bucket_width='1 minute', facts=['quotes']) }}

select
    instrument_id,
    {{ bucket_of('1 minute', 'time') }} as bucket,
    count(*) as quote_count,
    (
        array_agg((bid_price + ask_price) / 2 order by time, update_id) filter (where {{ two_sided() }})
    )[(count(*) filter (where {{ two_sided() }}))::integer] as mid_close,
    avg({{ spread_bps() }} order by time, update_id) filter (where {{ two_sided() }}) as spread_bps_mean,
    min({{ spread_bps() }}) filter (where {{ two_sided() }}) as spread_bps_min,
    max({{ spread_bps() }}) filter (where {{ two_sided() }}) as spread_bps_max,
    stddev_pop({{ spread_bps() }} order by time, update_id) filter (where {{ two_sided() }}) as spread_bps_std,
    avg(
        bid_size / nullif(bid_size + ask_size, 0) order by time, update_id
    ) filter (where {{ two_sided() }}) as order_imbalance,
    count(occurred_at) as timed_count,
    sum({{ milliseconds_of('(received_at - occurred_at)') }} order by time, update_id) as latency_ms_sum,
    max({{ milliseconds_of('(received_at - occurred_at)') }}) as latency_ms_max
from {{ source('market', 'quotes') }}
where {{ in_range('time') }}
group by 1, 2
