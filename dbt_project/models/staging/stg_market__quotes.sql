select
    quotes.instrument_id,
    instruments.venue,
    instruments.symbol,
    quotes.update_id,
    quotes.time,
    quotes.occurred_at,
    quotes.received_at,
    quotes.bid_price,
    quotes.bid_size,
    quotes.ask_price,
    quotes.ask_size
from {{ source('market', 'quotes') }} as quotes
inner join {{ source('market', 'instruments') }} as instruments on quotes.instrument_id = instruments.instrument_id
