select
    flows.instrument_id,
    instruments.venue,
    instruments.symbol,
    flows.side,
    flows.distance_bps,
    flows.is_partial,
    flows.time,
    flows.received_at,
    flows.added,
    flows.removed,
    flows.cancelled,
    flows.traded,
    flows.adds,
    flows.cancels,
    flows.levels,
    flows.largest_added,
    flows.fleeting,
    flows.withdrawn,
    flows.withdrawn_life_us,
    flows.layers,
    flows.layered
from {{ source('market', 'book_flows') }} as flows
inner join {{ source('market', 'instruments') }} as instruments on flows.instrument_id = instruments.instrument_id
