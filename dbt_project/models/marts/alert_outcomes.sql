with
alerts as (
    select * from {{ ref('stg_surveillance__alerts') }}
),

closings as (
    select
        alert_id,
        max(occurred_at) as closed_at
    from {{ source('surveillance', 'alert_events') }}
    where event = 'closed'
    group by 1
)

select
    alerts.detector,
    alerts.detector_version,
    date_bin('1 hour', alerts.window_start, '1970-01-01 00:00:00+00') as hour,
    count(*) as alerts,
    count(*) filter (where alerts.state in ('open', 'acknowledged', 'escalated')) as in_progress,
    count(*) filter (where alerts.state = 'closed') as closed,
    count(*) filter (where alerts.state = 'retracted') as retracted,
    count(*) filter (where alerts.disposition = 'true') as judged_true,
    count(*) filter (where alerts.disposition = 'false') as judged_false,
    count(*) filter (where alerts.disposition = 'benign') as judged_benign,
    count(*) filter (where alerts.disposition = 'duplicate') as judged_duplicate,
    count(*) filter (where alerts.disposition = 'true')::double precision
    / nullif(count(*) filter (where alerts.disposition in ('true', 'false', 'benign')), 0) as alert_precision,
    avg(
        extract(epoch from closings.closed_at - alerts.raised_at)
    ) filter (where alerts.state = 'closed')::double precision as seconds_to_close_mean
from alerts
left join closings on alerts.alert_id = closings.alert_id
group by 1, 2, 3
