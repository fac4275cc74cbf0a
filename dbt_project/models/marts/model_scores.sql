select
    scores.instrument_id,
    instruments.venue,
    instruments.symbol,
    {{ instrument_of('instruments') }} as instrument,
    scores.model,
    scores.model_id,
    scores.window_start,
    scores.score,
    scores.threshold,
    scores.score / nullif(scores.threshold, 0) as score_to_threshold,
    scores.score > scores.threshold as is_above,
    coalesce(scores.reason, 'scored') as outcome
from {{ source('surveillance', 'scores') }} as scores
inner join {{ ref('stg_market__instruments') }} as instruments on scores.instrument_id = instruments.instrument_id
