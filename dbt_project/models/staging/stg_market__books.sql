select
    books.instrument_id,
    instruments.venue,
    instruments.symbol,
    books.update_id,
    books.time,
    books.occurred_at,
    books.received_at,
    books.bid_prices,
    books.bid_sizes,
    books.ask_prices,
    books.ask_sizes
from {{ source('market', 'books') }} as books
inner join {{ source('market', 'instruments') }} as instruments on books.instrument_id = instruments.instrument_id
