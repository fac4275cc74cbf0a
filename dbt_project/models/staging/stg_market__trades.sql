select
    trades.instrument_id,
    instruments.venue,
    instruments.symbol,
    trades.trade_id,
    trades.time,
    trades.occurred_at,
    trades.received_at,
    trades.price,
    trades.size,
    trades.aggressor,
    trades.fills
from {{ source('market', 'trades') }} as trades
inner join {{ source('market', 'instruments') }} as instruments on trades.instrument_id = instruments.instrument_id
