{{ config(materialized='continuous_aggregate', bucket_width='1 minute', facts=['reference_prices']) }}

select
    instrument_id,
    {{ bucket_of('1 minute', 'time') }} as bucket,
    (array_agg(mark_price order by time) filter (where mark_price is not null))[
        count(mark_price)::integer
    ] as mark_price,
    (array_agg(index_price order by time) filter (where index_price is not null))[
        count(index_price)::integer
    ] as index_price,
    (array_agg(funding_rate order by time) filter (where funding_rate is not null))[
        count(funding_rate)::integer
    ] as funding_rate,
    count(*) as reference_price_count
from {{ source('market', 'reference_prices') }}
where {{ in_range('time') }}
group by 1, 2
