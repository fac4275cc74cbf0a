select
    alerts.alert_id,
    alerts.detector,
    alerts.detector_version,
    alerts.instrument_id,
    instruments.venue,
    instruments.symbol,
    alerts.window_start,
    alerts.window_end,
    alerts.raised_at,
    alerts.severity,
    alerts.score,
    alerts.threshold,
    alerts.summary,
    alerts.evidence_level,
    alerts.completeness,
    alerts.model_id,
    alerts.state,
    {{ disposition_of('alerts') }} as disposition
from {{ source('surveillance', 'alerts') }} as alerts
inner join {{ source('market', 'instruments') }} as instruments on alerts.instrument_id = instruments.instrument_id
