with
alerts as (
    select
        alerts.alert_id,
        alerts.instrument_id,
        alerts.detector,
        alerts.severity,
        instruments.venue,
        {{ instrument_of('instruments') }} as instrument,
        alerts.window_start,
        alerts.last_window_start,
        instruments.symbol
    from {{ source('surveillance', 'alerts') }} as alerts
    inner join {{ ref('stg_market__instruments') }} as instruments on alerts.instrument_id = instruments.instrument_id
    where alerts.state <> 'retracted'
)

select
    alerts.alert_id,
    {{ alert_of('alerts') }} as alert,
    alerts.detector,
    alerts.severity,
    alerts.venue,
    alerts.instrument,
    alerts.window_start as alerted_at,
    windows.window_start,
    windows.window_start between alerts.window_start and alerts.last_window_start as is_inside,
    coalesce(windows.close, windows.mid_close) as price,
    case
        when windows.window_start between alerts.window_start and alerts.last_window_start
            then coalesce(windows.close, windows.mid_close)
    end as alerted_price,
    windows.spread_bps_mean,
    windows.imbalance_mean,
    windows.bid_depth_10bps,
    windows.ask_depth_10bps,
    (windows.bid_depth_10bps - windows.ask_depth_10bps)
    / nullif(windows.bid_depth_10bps + windows.ask_depth_10bps, 0) as depth_imbalance,
    windows.buy_volume,
    windows.sell_volume,
    windows.bid_cancelled_near,
    windows.ask_cancelled_near,
    windows.completeness
from alerts
inner join {{ source('surveillance', 'windows') }} as windows
    on
        alerts.instrument_id = windows.instrument_id
        and windows.window_start >= alerts.window_start - interval '10 minutes'
        and windows.window_start <= alerts.last_window_start + interval '10 minutes'
