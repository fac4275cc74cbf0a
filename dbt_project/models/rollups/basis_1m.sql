with
instruments as (
    select * from {{ ref('stg_market__instruments') }}
),

-- Read twice, and not whole: for an hour of one perpetual two ranges of the key are enough.
prices as not materialized (
    select
        instrument_id,
        bucket,
        mid_close
    from {{ ref('quote_spreads_1m') }}
    where mid_close is not null
),

reference_prices as (
    select * from {{ ref('reference_prices_1m') }}
)

select
    perpetuals.instrument_id,
    prices.bucket,
    spots.instrument_id as spot_instrument_id,
    prices.mid_close as perpetual_price,
    spot_prices.mid_close as spot_price,
    reference_prices.index_price,
    reference_prices.mark_price,
    (prices.mid_close / spot_prices.mid_close - 1) * 1e4 as basis_spot_bps,
    (prices.mid_close / reference_prices.index_price - 1) * 1e4 as basis_index_bps,
    (prices.mid_close / reference_prices.mark_price - 1) * 1e4 as basis_mark_bps,
    reference_prices.funding_rate
from instruments as perpetuals
inner join prices on perpetuals.instrument_id = prices.instrument_id
left join instruments as spots
    on
        perpetuals.base = spots.base
        and perpetuals.quote = spots.quote
        and spots.kind = 'spot'
left join prices as spot_prices
    on
        spots.instrument_id = spot_prices.instrument_id
        and prices.bucket = spot_prices.bucket
left join reference_prices
    on
        prices.instrument_id = reference_prices.instrument_id
        and prices.bucket = reference_prices.bucket
where perpetuals.kind = 'perpetual'
