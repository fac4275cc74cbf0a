{#- Never a refused frame itself: what could not be read may hold anything. -#}
with
gaps as (
    select
        venue,
        'gap' as kind,
        cause,
        coalesce(symbol, 'all') as symbol,
        coalesce(channel, 'all') as channel,
        started_at,
        extract(epoch from ended_at - started_at)::double precision as seconds,
        lost_events as lost,
        repaired_at is not null as is_repaired,
        detail
    from {{ ref('stg_market__feed_gaps') }}
),

refused as (
    select
        frames.venue,
        'refused frame' as kind,
        split_part(frames.error, ':', 1) as cause,
        coalesce(instruments.symbol, 'all') as symbol,
        coalesce(frames.channel, 'all') as channel,
        frames.received_at as started_at,
        0::double precision as seconds,
        frames.frames::bigint as lost,
        false as is_repaired,
        frames.error as detail
    from {{ source('market', 'rejected_frames') }} as frames
    left join {{ ref('stg_market__instruments') }} as instruments on frames.instrument_id = instruments.instrument_id
),

venues as (
    select distinct venue
    from {{ ref('stg_market__instruments') }}
    where is_active
)

select * from gaps
union all
select * from refused
union all
select
    venue,
    'none' as kind,
    'none' as cause,
    'all' as symbol,
    'all' as channel,
    now() as started_at,
    0 as seconds,
    0 as lost,
    false as is_repaired,
    'nothing is known to be missing' as detail
from venues
where venue not in (select gaps.venue from gaps) and venue not in (select refused.venue from refused)
