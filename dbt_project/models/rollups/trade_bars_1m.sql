{{ config(materialized='continuous_aggregate', bucket_width='1 minute', facts=['trades']) }}

{#- Every sum is in the order of (time, trade_id): the same bits wherever it is made, and one sort for all of them. -#}
select
    instrument_id,
    {{ bucket_of('1 minute', 'time') }} as bucket,
    (array_agg(price order by time, trade_id))[1] as open,
    max(price) as high,
    min(price) as low,
    (array_agg(price order by time, trade_id))[count(*)::integer] as close,
    sum(size order by time, trade_id) as volume,
    sum(case when aggressor = 1 then size else 0 end order by time, trade_id) as buy_volume,
    sum(price * size order by time, trade_id) as notional,
    sum(price * size order by time, trade_id) / nullif(sum(size order by time, trade_id), 0) as vwap,
    sum(fills)::bigint as trade_count,
    sum({{ milliseconds_of('(received_at - occurred_at)') }} * fills order by time, trade_id) as latency_ms_sum,
    max({{ milliseconds_of('(received_at - occurred_at)') }}) as latency_ms_max
from {{ source('market', 'trades') }}
where {{ in_range('time') }}
group by 1, 2
