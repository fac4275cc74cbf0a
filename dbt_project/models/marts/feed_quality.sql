select
    quality.instrument_id,
    instruments.venue,
    instruments.symbol,
    {{ instrument_of('instruments') }} as instrument,
    quality.bucket,
    quality.trade_count,
    quality.quote_count,
    quality.book_count,
    quality.minutes_with_facts,
    quality.latency_ms_mean,
    quality.latency_ms_max,
    quality.gap_count,
    quality.gap_seconds,
    quality.book_gap_seconds,
    quality.refused_frames,
    quality.completeness
from {{ ref('feed_quality_1h') }} as quality
inner join {{ ref('stg_market__instruments') }} as instruments on quality.instrument_id = instruments.instrument_id
