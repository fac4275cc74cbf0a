select
    bars.instrument_id,
    instruments.venue,
    instruments.symbol,
    bars.bucket,
    bars.spread_bps_mean,
    bars.spread_bps_max,
    bars.spread_bps_std,
    bars.order_imbalance,
    bars.liquidity_score,
    bars.spread_bps_max / nullif(bars.spread_bps_mean, 0) as max_to_mean,
    bars.spread_bps_max > 2 * bars.spread_bps_mean as is_anomaly,
    bars.spread_bps_mean < 5
    and bars.spread_bps_std < 2
    and bars.order_imbalance between 0.4 and 0.6 as is_favourable
from {{ ref('quote_bars_1m') }} as bars
inner join {{ ref('stg_market__instruments') }} as instruments on bars.instrument_id = instruments.instrument_id
where bars.spread_bps_mean is not null
