with
newest as (
    select max(window_start) as window_start from {{ source('surveillance', 'correlations') }}
)

select
    pairs.window_start,
    pairs.instrument_a,
    pairs.instrument_b,
    first_ones.venue as venue_a,
    first_ones.symbol as symbol_a,
    second_ones.venue as venue_b,
    second_ones.symbol as symbol_b,
    pairs.correlation,
    pairs.correlation_slow
from {{ source('surveillance', 'correlation_pairs') }} as pairs
inner join newest on pairs.window_start = newest.window_start
inner join {{ ref('stg_market__instruments') }} as first_ones on pairs.instrument_a = first_ones.instrument_id
inner join {{ ref('stg_market__instruments') }} as second_ones on pairs.instrument_b = second_ones.instrument_id
