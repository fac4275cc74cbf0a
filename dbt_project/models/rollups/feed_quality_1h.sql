{{
    config(
        materialized='continuous_aggregate',
        native=false,
        bucket_width='1 hour',
        facts=['trades', 'quotes', 'books', 'feed_gaps', 'rejected_frames']
    )
}}

with
instruments as (
    select * from {{ source('market', 'instruments') }}
),

minutes as (
    select
        instrument_id,
        bucket,
        trade_count,
        0 as quote_count,
        0 as book_count,
        trade_count as timed_count,
        latency_ms_sum,
        latency_ms_max
    from {{ ref('trade_bars_1m') }}
    where {{ in_range('bucket') }}
    union all
    select
        instrument_id,
        bucket,
        0 as trade_count,
        quote_count,
        0 as book_count,
        timed_count,
        latency_ms_sum,
        latency_ms_max
    from {{ ref('quote_spreads_1m') }}
    where {{ in_range('bucket') }}
    union all
    select
        instrument_id,
        bucket,
        0 as trade_count,
        0 as quote_count,
        book_count,
        timed_count,
        latency_ms_sum,
        latency_ms_max
    from {{ ref('book_depth_1m') }}
    where {{ in_range('bucket') }}
),

received as (
    select
        instrument_id,
        {{ bucket_of('1 hour', 'bucket') }} as bucket,
        sum(trade_count)::bigint as trade_count,
        sum(quote_count)::bigint as quote_count,
        sum(book_count)::bigint as book_count,
        count(distinct bucket) as minutes_with_facts,
        sum(latency_ms_sum order by bucket, trade_count, quote_count) / nullif(sum(timed_count), 0) as latency_ms_mean,
        max(latency_ms_max) as latency_ms_max
    from minutes
    group by 1, 2
),

hours_of_gaps as (
    select
        gaps.instrument_id,
        gaps.venue,
        hours.bucket,
        coalesce(gaps.relation in ('books', 'book_flows'), false) as is_of_books,
        tstzrange(gaps.started_at, gaps.ended_at)
        * tstzrange(hours.bucket, hours.bucket + interval '1 hour') as hole
    from {{ source('market', 'feed_gaps') }} as gaps
    cross join
        lateral generate_series(
            date_bin('1 hour', gaps.started_at, '1970-01-01 00:00:00+00'), gaps.ended_at, interval '1 hour'
        ) as hours (bucket)
    where gaps.repaired_at is null and {{ in_range('hours.bucket') }}
),

gaps as (
    select
        instruments.instrument_id,
        hours_of_gaps.bucket,
        count(*) as gap_count,
        coalesce(
            range_agg(hours_of_gaps.hole) filter (where not hours_of_gaps.is_of_books), '{}'
        ) as feed_holes,
        range_agg(hours_of_gaps.hole) as book_holes
    from hours_of_gaps
    inner join instruments
        on
            instruments.is_active
            and (
                hours_of_gaps.instrument_id = instruments.instrument_id
                or (hours_of_gaps.instrument_id is null and hours_of_gaps.venue = instruments.venue)
            )
    where not isempty(hours_of_gaps.hole)
    group by 1, 2
),

-- A fact that is set aside counts as a frame that was refused at its time, as in judgement.
refused_frames as (
    select
        venue,
        instrument_id,
        received_at,
        frames
    from {{ source('market', 'rejected_frames') }}
    where {{ in_range('received_at') }}
    union all
    select
        null as venue,
        instrument_id,
        time as received_at,
        1 as frames
    from {{ source('surveillance', 'quarantined_facts') }}
    where
        relation in ('market.trades', 'market.quotes', 'market.books')
        and lifted_at is null
        and {{ in_range('time') }}
),

refused as (
    select
        instruments.instrument_id,
        {{ bucket_of('1 hour', 'frames.received_at') }} as bucket,
        sum(frames.frames)::bigint as refused_frames
    from refused_frames as frames
    inner join instruments
        on
            instruments.is_active
            and (
                frames.instrument_id = instruments.instrument_id
                or (frames.instrument_id is null and frames.venue = instruments.venue)
            )
    group by 1, 2
),

hours as (
    select
        instrument_id,
        bucket
    from received
    union
    select
        instrument_id,
        bucket
    from gaps
    union
    select
        instrument_id,
        bucket
    from refused
),

measured as (
    select
        hours.instrument_id,
        hours.bucket,
        coalesce(received.trade_count, 0) as trade_count,
        coalesce(received.quote_count, 0) as quote_count,
        coalesce(received.book_count, 0) as book_count,
        coalesce(received.minutes_with_facts, 0) as minutes_with_facts,
        received.latency_ms_mean,
        received.latency_ms_max,
        coalesce(gaps.gap_count, 0) as gap_count,
        coalesce((
            select sum(extract(epoch from upper(hole) - lower(hole))) from unnest(gaps.feed_holes) as hole
        ), 0)::double precision as gap_seconds,
        coalesce((
            select sum(extract(epoch from upper(hole) - lower(hole))) from unnest(gaps.book_holes) as hole
        ), 0)::double precision as book_gap_seconds,
        coalesce(refused.refused_frames, 0) as refused_frames
    from hours
    left join received on hours.instrument_id = received.instrument_id and hours.bucket = received.bucket
    left join gaps on hours.instrument_id = gaps.instrument_id and hours.bucket = gaps.bucket
    left join refused on hours.instrument_id = refused.instrument_id and hours.bucket = refused.bucket
)

select
    instrument_id,
    bucket,
    trade_count,
    quote_count,
    book_count,
    minutes_with_facts,
    latency_ms_mean,
    latency_ms_max,
    gap_count,
    gap_seconds,
    book_gap_seconds,
    refused_frames,
    (1 - gap_seconds / 3600) * coalesce(
        (trade_count + quote_count + book_count)::double precision
        / nullif(trade_count + quote_count + book_count + refused_frames, 0),
        1
    ) as completeness
from measured
