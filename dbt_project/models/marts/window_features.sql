select
    features.instrument_id,
    instruments.venue,
    instruments.symbol,
    {{ instrument_of('instruments') }} as instrument,
    features.window_start,
    features.price,
    features.return_bps,
    features.price_z,
    features.volatility_20_bps,
    features.volume_z,
    features.spread_bps_mean,
    features.spread_bps_z,
    features.order_trade_ratio,
    features.completeness
from {{ source('surveillance', 'features') }} as features
inner join {{ ref('stg_market__instruments') }} as instruments on features.instrument_id = instruments.instrument_id
