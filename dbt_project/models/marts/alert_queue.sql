with
alerts as (
    select * from {{ ref('stg_surveillance__alerts') }}
    where state in ('open', 'acknowledged', 'escalated')
),

last_events as (
    select distinct on (alert_id)
        alert_id,
        event,
        actor,
        note,
        occurred_at
    from {{ source('surveillance', 'alert_events') }}
    order by alert_id asc, alert_event_id desc
)

select
    alerts.alert_id,
    alerts.detector,
    alerts.instrument_id,
    alerts.venue,
    alerts.symbol,
    alerts.severity,
    array_position(array['critical', 'warning', 'info'], alerts.severity) as priority,
    alerts.state,
    alerts.summary,
    alerts.score,
    alerts.threshold,
    alerts.completeness,
    alerts.evidence_level,
    alerts.window_start,
    alerts.raised_at,
    last_events.event as last_event,
    last_events.actor as last_actor,
    last_events.note as last_note,
    last_events.occurred_at as last_event_at
from alerts
left join last_events on alerts.alert_id = last_events.alert_id
