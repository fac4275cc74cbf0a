with
spreads as (
    select * from {{ ref('quote_spreads_1m') }}
),

depth as (
    select * from {{ ref('book_depth_1m') }}
),

bars as (
    select * from {{ ref('trade_bars_1m') }}
)

select
    spreads.instrument_id,
    spreads.bucket,
    spreads.mid_close,
    spreads.spread_bps_mean,
    spreads.spread_bps_min,
    spreads.spread_bps_max,
    spreads.spread_bps_std,
    1000 / nullif(spreads.spread_bps_mean, 0) as liquidity_score,
    spreads.quote_count,
    coalesce(bars.trade_count, 0) as trade_count,
    spreads.quote_count::double precision / greatest(coalesce(bars.trade_count, 0), 1) as quote_trade_ratio,
    spreads.order_imbalance,
    depth.bid_depth_10bps,
    depth.ask_depth_10bps
from spreads
left join depth on spreads.instrument_id = depth.instrument_id and spreads.bucket = depth.bucket
left join bars on spreads.instrument_id = bars.instrument_id and spreads.bucket = bars.bucket
