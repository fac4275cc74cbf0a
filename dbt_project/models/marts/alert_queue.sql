with
alerts as (
    select * from {{ ref('stg_surveillance__alerts') }}
    where state in ('open', 'acknowledged', 'escalated')
),

judged as (
    select max(window_start) as window_start from {{ source('surveillance', 'windows') }}
)

select
    alerts.alert_id,
    alerts.detector,
    alerts.instrument_id,
    alerts.venue,
    alerts.symbol,
    alerts.severity,
    {{ priority_of('alerts.severity') }} as priority,
    alerts.state,
    alerts.summary,
    alerts.score,
    alerts.peak_score,
    alerts.threshold,
    alerts.completeness,
    alerts.evidence_level,
    alerts.window_start,
    alerts.last_window_start,
    alerts.windows_fired,
    alerts.closes_at,
    alerts.closes_at <= judged.window_start as is_over,
    alerts.raised_at,
    alerts.changed_at,
    alerts.incident_id,
    incidents.alert_count as incident_alerts,
    surveillance.snoozed_until(alerts.detector, alerts.instrument_id, alerts.raised_at) as snoozed_until,
    life.acknowledged_at,
    life.acknowledged_by,
    life.escalated_at,
    life.escalated_by,
    life.last_event,
    life.last_actor,
    life.last_note,
    life.last_event_at
from alerts
cross join judged
left join {{ ref('stg_surveillance__incidents') }} as incidents on alerts.incident_id = incidents.incident_id
-- The few events of each alert that waits, and not all that ever were.
cross join lateral (
    select
        max(events.occurred_at) filter (where events.event = 'acknowledged') as acknowledged_at,
        (
            array_agg(events.actor order by events.alert_event_id desc) filter (where events.event = 'acknowledged')
        )[1] as acknowledged_by,
        max(events.occurred_at) filter (where events.event = 'escalated') as escalated_at,
        (
            array_agg(events.actor order by events.alert_event_id desc) filter (where events.event = 'escalated')
        )[1] as escalated_by,
        (array_agg(events.event order by events.alert_event_id desc))[1] as last_event,
        (array_agg(events.actor order by events.alert_event_id desc))[1] as last_actor,
        (array_agg(events.note order by events.alert_event_id desc))[1] as last_note,
        (array_agg(events.occurred_at order by events.alert_event_id desc))[1] as last_event_at
    from {{ source('surveillance', 'alert_events') }} as events
    where events.alert_id = alerts.alert_id
) as life
