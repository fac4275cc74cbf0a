with
pairs as (
    select * from {{ ref('correlation_latest') }}
),

both_ways as (
    select
        pairs.window_start,
        case when ways.is_first then pairs.venue_a else pairs.venue_b end as venue,
        case when ways.is_first then pairs.symbol_a else pairs.symbol_b end as symbol,
        case when ways.is_first then pairs.venue_b else pairs.venue_a end as other_venue,
        case when ways.is_first then pairs.symbol_b else pairs.symbol_a end as other_symbol,
        pairs.correlation,
        pairs.correlation_slow,
        ways.is_first
    from pairs
    cross join (values (true), (false)) as ways (is_first)
),

themselves as (
    select distinct
        window_start,
        venue,
        symbol,
        venue as other_venue,
        symbol as other_symbol,
        1.0::double precision as correlation,
        1.0::double precision as correlation_slow,
        false as is_first
    from both_ways
),

everything as (
    select * from both_ways
    union all
    select * from themselves
)

select
    everything.window_start,
    everything.venue,
    {{ instrument_of('everything') }} as instrument,
    everything.other_venue,
    everything.other_symbol || ' · ' || everything.other_venue as other_instrument,
    everything.correlation,
    everything.correlation_slow,
    abs(coalesce(everything.correlation_slow, everything.correlation)) as strength,
    everything.is_first
from everything
