select
    basis.instrument_id,
    perpetuals.venue,
    perpetuals.symbol,
    {{ instrument_of('perpetuals') }} as instrument,
    {{ instrument_of('spots') }} as spot_instrument,
    basis.bucket,
    basis.perpetual_price,
    basis.spot_price,
    basis.index_price,
    basis.mark_price,
    basis.basis_spot_bps,
    basis.basis_index_bps,
    basis.basis_mark_bps,
    basis.funding_rate * 1e4 as funding_bps
from {{ ref('basis_1m') }} as basis
inner join {{ ref('stg_market__instruments') }} as perpetuals on basis.instrument_id = perpetuals.instrument_id
left join {{ ref('stg_market__instruments') }} as spots on basis.spot_instrument_id = spots.instrument_id
