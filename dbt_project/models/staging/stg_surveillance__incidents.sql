select
    incident_id,
    base,
    started_at,
    ended_at,
    severity,
    cardinality(alert_ids) as alert_count,
    detectors,
    venues,
    instrument_ids,
    changed_at
from {{ source('surveillance', 'incidents') }}
