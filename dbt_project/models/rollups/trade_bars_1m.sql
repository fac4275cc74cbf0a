{{ config(materialized='continuous_aggregate', bucket_width='1 minute', facts=['trades']) }}

{#- Every sum is in the order of (time, trade_id): the same bits wherever it is made, and one sort for all of them. -#}
select
    trades.instrument_id,
    {{ bucket_of('1 minute', 'trades.time') }} as bucket,
    (array_agg(trades.price order by trades.time, trades.trade_id))[1] as open,
    max(trades.price) as high,
    min(trades.price) as low,
    (array_agg(trades.price order by trades.time, trades.trade_id))[count(*)::integer] as close,
    sum(trades.size order by trades.time, trades.trade_id) as volume,
    sum(case when trades.aggressor = 1 then trades.size else 0 end order by trades.time, trades.trade_id) as buy_volume,
    sum(trades.price * trades.size order by trades.time, trades.trade_id) as notional,
    sum(trades.price * trades.size order by trades.time, trades.trade_id)
    / nullif(sum(trades.size order by trades.time, trades.trade_id), 0) as vwap,
    sum(trades.fills)::bigint as trade_count,
    sum(
        {{ milliseconds_of('(trades.received_at - trades.occurred_at)') }} * trades.fills
        order by trades.time, trades.trade_id
    ) as latency_ms_sum,
    max({{ milliseconds_of('(trades.received_at - trades.occurred_at)') }}) as latency_ms_max
{{ from_judged('trades', 'trades.trade_id') }}
group by 1, 2
