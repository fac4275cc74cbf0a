select
    bars.instrument_id,
    instruments.venue,
    instruments.symbol,
    {{ instrument_of('instruments') }} as instrument,
    bars.bucket,
    bars.open,
    bars.high,
    bars.low,
    bars.close,
    bars.volume,
    bars.buy_volume,
    bars.volume - bars.buy_volume as sell_volume,
    bars.notional,
    bars.trade_count,
    indicators.sma_20 as mean_20,
    indicators.bollinger_upper as upper_band,
    indicators.bollinger_lower as lower_band
from {{ ref('trade_bars_1m') }} as bars
inner join {{ ref('stg_market__instruments') }} as instruments on bars.instrument_id = instruments.instrument_id
left join {{ ref('technical_indicators_1m') }} as indicators
    on bars.instrument_id = indicators.instrument_id and bars.bucket = indicators.bucket
