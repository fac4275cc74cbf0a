select
    'keeps failing' as kind,
    hour,
    range_start,
    range_end,
    attempts,
    first_failed_at as noticed_at,
    error as detail
from {{ source('surveillance', 'failed_ranges') }}
where state = 'open'
union all
select
    'waits for a backfill' as kind,
    hour,
    lower(touched) as range_start,
    upper(touched) as range_end,
    0 as attempts,
    first_noticed_at as noticed_at,
    'facts came too late to be judged live' as detail
from {{ source('surveillance', 'late_hours') }}
where state = 'open'
