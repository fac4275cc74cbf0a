select
    model_id,
    model,
    trained_from,
    trained_through,
    effective_from,
    lead(effective_from) over (partition by model order by effective_from) as effective_until,
    extract(epoch from trained_through - trained_from) / 3600.0::double precision as trained_hours,
    samples,
    cardinality(feature_names) as feature_count,
    array_to_string(feature_names, ', ') as feature_names,
    threshold,
    created_at
from {{ source('model', 'models') }}
