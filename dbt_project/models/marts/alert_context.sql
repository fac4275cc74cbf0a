with
alerts as (
    select * from {{ ref('stg_surveillance__alerts') }}
    where state <> 'retracted'
)

select
    alerts.alert_id,
    {{ alert_of('alerts') }} as alert,
    alerts.detector,
    alerts.severity,
    alerts.venue,
    {{ instrument_of('alerts') }} as instrument,
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
