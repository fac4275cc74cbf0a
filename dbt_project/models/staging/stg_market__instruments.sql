select
    instrument_id,
    venue,
    symbol,
    venue_symbol,
    kind,
    base,
    quote,
    tick_size,
    is_active
from {{ source('market', 'instruments') }}
