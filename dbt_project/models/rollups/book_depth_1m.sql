{{ config(materialized='continuous_aggregate', bucket_width='1 minute', facts=['books']) }}

select
    instrument_id,
    {{ bucket_of('1 minute', 'time') }} as bucket,
    count(*) as book_count,
    avg(
        {{ target.schema }}.depth_within_10bps(bid_prices, bid_sizes, (bid_prices[1] + ask_prices[1]) / 2)
        order by time, update_id
    ) as bid_depth_10bps,
    avg(
        {{ target.schema }}.depth_within_10bps(ask_prices, ask_sizes, (bid_prices[1] + ask_prices[1]) / 2)
        order by time, update_id
    ) as ask_depth_10bps,
    count(occurred_at) as timed_count,
    sum({{ milliseconds_of('(received_at - occurred_at)') }} order by time, update_id) as latency_ms_sum,
    max({{ milliseconds_of('(received_at - occurred_at)') }}) as latency_ms_max
from {{ source('market', 'books') }}
where {{ in_range('time') }}
group by 1, 2
