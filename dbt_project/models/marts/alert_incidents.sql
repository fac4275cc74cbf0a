with
alerts as (
    select
        alerts.incident_id,
        instruments.venue,
        count(*) as alerts,
        count(*) filter (where alerts.state in ('open', 'acknowledged', 'escalated')) as unresolved_alerts,
        string_agg(distinct alerts.detector, ', ' order by alerts.detector) as detectors,
        string_agg(distinct instruments.symbol, ', ' order by instruments.symbol) as symbols
    from {{ source('surveillance', 'alerts') }} as alerts
    inner join {{ ref('stg_market__instruments') }} as instruments on alerts.instrument_id = instruments.instrument_id
    where alerts.incident_id is not null
    group by 1, 2
)

select
    incidents.incident_id,
    alerts.venue,
    incidents.base,
    incidents.severity,
    {{ priority_of('incidents.severity') }} as priority,
    incidents.started_at,
    incidents.ended_at,
    extract(epoch from incidents.ended_at - incidents.started_at)::double precision as duration_s,
    alerts.alerts,
    alerts.unresolved_alerts,
    alerts.detectors,
    alerts.symbols
from {{ ref('stg_surveillance__incidents') }} as incidents
inner join alerts on incidents.incident_id = alerts.incident_id
