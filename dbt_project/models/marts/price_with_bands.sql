select
    indicators.instrument_id,
    instruments.venue,
    instruments.symbol,
    indicators.bucket,
    indicators.close,
    indicators.sma_20 as mean_20,
    indicators.sigma_20,
    indicators.bollinger_upper as upper_band,
    indicators.bollinger_lower as lower_band,
    indicators.close > indicators.bollinger_upper or indicators.close < indicators.bollinger_lower as is_outside
from {{ ref('technical_indicators_1m') }} as indicators
inner join {{ ref('stg_market__instruments') }} as instruments
    on indicators.instrument_id = instruments.instrument_id
