{#- By the clock of the wall: whether a feed is alive is not a matter of the data's own time. -#}
with
venues as (
    select
        venue,
        count(*) as instruments
    from {{ ref('stg_market__instruments') }}
    where is_active
    group by venue
),

minutes as (
    select
        venue,
        sum(rows) as rows
    from {{ source('ops', 'ingest_batches') }}
    where committed_at > now() - interval '1 minute'
    group by venue
),

gaps as (
    select
        venue,
        count(*) as gaps
    from {{ source('market', 'feed_gaps') }}
    where ended_at > now() - interval '1 hour' and repaired_at is null
    group by venue
),

refused as (
    select
        venue,
        sum(frames) as frames
    from {{ source('market', 'rejected_frames') }}
    where received_at > now() - interval '1 hour'
    group by venue
)

select
    venues.venue,
    venues.instruments,
    case
        when last_batch.committed_at > now() - interval '15 seconds' then 'live'
        when last_batch.committed_at > now() - interval '1 minute' then 'slow'
        else 'silent'
    end as state,
    coalesce(minutes.rows, 0) / 60.0::double precision as rows_per_s,
    last_batch.committed_at as last_committed_at,
    extract(epoch from now() - last_batch.committed_at)::double precision as silent_s,
    {{ delay_of('last_batch') }} as delay_s,
    coalesce(gaps.gaps, 0) as gaps_1h,
    coalesce(refused.frames, 0)::bigint as refused_frames_1h
from venues
left join lateral (
    select
        batches.committed_at,
        batches.max_received_at,
        batches.is_replay
    from {{ source('ops', 'ingest_batches') }} as batches
    where batches.venue = venues.venue
    order by batches.max_received_at desc
    limit 1
) as last_batch on true
left join minutes on venues.venue = minutes.venue
left join gaps on venues.venue = gaps.venue
left join refused on venues.venue = refused.venue
