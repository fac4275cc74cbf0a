select
    reference_prices.instrument_id,
    instruments.venue,
    instruments.symbol,
    reference_prices.time,
    reference_prices.occurred_at,
    reference_prices.received_at,
    reference_prices.mark_price,
    reference_prices.index_price,
    reference_prices.funding_rate,
    reference_prices.next_funding_at
from {{ source('market', 'reference_prices') }} as reference_prices
inner join
    {{ source('market', 'instruments') }} as instruments
    on reference_prices.instrument_id = instruments.instrument_id
