{{ config(materialized='continuous_aggregate', bucket_width='1 minute', facts=['reference_prices']) }}

select
    reference_prices.instrument_id,
    {{ bucket_of('1 minute', 'reference_prices.time') }} as bucket,
    (
        array_agg(reference_prices.mark_price order by reference_prices.time)
        filter (where reference_prices.mark_price is not null)
    )[count(reference_prices.mark_price)::integer] as mark_price,
    (
        array_agg(reference_prices.index_price order by reference_prices.time)
        filter (where reference_prices.index_price is not null)
    )[count(reference_prices.index_price)::integer] as index_price,
    (
        array_agg(reference_prices.funding_rate order by reference_prices.time)
        filter (where reference_prices.funding_rate is not null)
    )[count(reference_prices.funding_rate)::integer] as funding_rate,
    count(*) as reference_price_count
{{ from_judged('reference_prices', '0') }}
group by 1, 2
