select
    spreads.instrument_id,
    spreads.venue,
    spreads.symbol,
    {{ instrument_of('spreads') }} as instrument,
    spreads.bucket,
    spreads.spread_bps_mean,
    spreads.spread_bps_max,
    spreads.spread_bps_std,
    spreads.liquidity_score,
    spreads.order_imbalance,
    spreads.is_anomaly,
    spreads.is_favourable,
    depth.bid_depth_10bps,
    depth.ask_depth_10bps,
    depth.bid_depth_10bps + depth.ask_depth_10bps as depth_10bps
from {{ ref('spread_monitor') }} as spreads
left join {{ ref('book_depth_1m') }} as depth
    on spreads.instrument_id = depth.instrument_id and spreads.bucket = depth.bucket
