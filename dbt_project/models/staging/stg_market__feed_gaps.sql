select
    gaps.gap_id,
    gaps.venue,
    gaps.channel,
    gaps.relation,
    gaps.instrument_id,
    instruments.symbol,
    gaps.started_at,
    gaps.ended_at,
    gaps.cause,
    gaps.detail,
    gaps.lost_events,
    gaps.repaired_at
from {{ source('market', 'feed_gaps') }} as gaps
left join {{ source('market', 'instruments') }} as instruments on gaps.instrument_id = instruments.instrument_id
