{{ config(materialized='continuous_aggregate', bucket_width='1 minute', facts=['quotes']) }}

select
    quotes.instrument_id,
    {{ bucket_of('1 minute', 'quotes.time') }} as bucket,
    count(*) as quote_count,
    (
        array_agg((quotes.bid_price + quotes.ask_price) / 2 order by quotes.time, quotes.update_id)
        filter (where {{ two_sided() }})
    )[(count(*) filter (where {{ two_sided() }}))::integer] as mid_close,
    avg({{ spread_bps() }} order by quotes.time, quotes.update_id) filter (where {{ two_sided() }}) as spread_bps_mean,
    min({{ spread_bps() }}) filter (where {{ two_sided() }}) as spread_bps_min,
    max({{ spread_bps() }}) filter (where {{ two_sided() }}) as spread_bps_max,
    stddev_pop(
        {{ spread_bps() }} order by quotes.time, quotes.update_id
    ) filter (where {{ two_sided() }}) as spread_bps_std,
    avg(
        quotes.bid_size / nullif(quotes.bid_size + quotes.ask_size, 0) order by quotes.time, quotes.update_id
    ) filter (where {{ two_sided() }}) as order_imbalance,
    count(quotes.occurred_at) as timed_count,
    sum(
        {{ milliseconds_of('(quotes.received_at - quotes.occurred_at)') }} order by quotes.time, quotes.update_id
    ) as latency_ms_sum,
    max({{ milliseconds_of('(quotes.received_at - quotes.occurred_at)') }}) as latency_ms_max
{{ from_judged('quotes', 'quotes.update_id') }}
group by 1, 2
