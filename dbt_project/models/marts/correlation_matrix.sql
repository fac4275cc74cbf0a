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
),

-- Every instrument is on both sides: whether a symbol is on one venue alone can be told from either.
named as (
    select
        *,
        {{ shortest_name('symbol', 'venue', 'of_symbol') }} as node,
        {{ shortest_name('other_symbol', 'other_venue', 'of_other') }} as other_node
    from everything
    window of_symbol as (partition by symbol), of_other as (partition by other_symbol)
)

select
    named.window_start,
    named.venue,
    {{ instrument_of('named') }} as instrument,
    named.other_venue,
    named.other_symbol || ' · ' || named.other_venue as other_instrument,
    named.node,
    named.other_node,
    named.correlation,
    named.correlation_slow,
    abs(coalesce(named.correlation_slow, named.correlation)) as strength,
    named.is_first
from named
