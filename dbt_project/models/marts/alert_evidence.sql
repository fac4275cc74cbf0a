with
alerts as (
    select * from {{ ref('stg_surveillance__alerts') }}
    where state <> 'retracted'
),

told as (
    select
        alerts.alert_id,
        {{ alert_of('alerts') }} as alert,
        alerts.detector,
        alerts.severity,
        alerts.venue,
        {{ instrument_of('alerts') }} as instrument,
        alerts.window_start,
        facts.place,
        facts.name,
        facts.value,
        facts.at_peak
    from alerts
    cross join lateral (
        values
        (1, 'summary', alerts.summary, null),
        (2, 'severity', alerts.severity, null),
        (3, 'state', alerts.state, null),
        (4, 'window', {{ second_of('alerts.window_start') }}, {{ second_of('alerts.peak_window_start') }}),
        (5, 'last window', {{ second_of('alerts.last_window_start') }}, null),
        (6, 'windows that fired', alerts.windows_fired::text, null),
        (7, 'score', {{ shown('alerts.score') }}, {{ shown('alerts.peak_score') }}),
        (8, 'threshold', {{ shown('alerts.threshold') }}, null),
        (9, 'evidence level', alerts.evidence_level, null),
        (10, 'completeness of the data', {{ shown('alerts.completeness') }}, null)
        union all
        select
            11 as place,
            replace(numbers.key, '_', ' ') as name,
            case jsonb_typeof(numbers.value)
                when 'number' then {{ shown("numbers.value #>> '{}'") }}
                else numbers.value #>> '{}'
            end as value,
            case jsonb_typeof(alerts.evidence #> array['peak', 'numbers', numbers.key])
                when 'number' then {{ shown("alerts.evidence #>> array['peak', 'numbers', numbers.key]") }}
                else alerts.evidence #>> array['peak', 'numbers', numbers.key]
            end as at_peak
        from jsonb_each(alerts.evidence -> 'numbers') as numbers
    ) as facts (place, name, value, at_peak)
)

select * from told
union all
-- What is chosen where there is nothing to choose: before the first alert, and by who sees none of them. In the order
-- of bytes, which column `alert` has of it, a bracket comes before any year: below all alerts.
select
    null as alert_id,
    '(no alert)' collate "C" as alert,
    null as detector,
    null as severity,
    null as venue,
    null as instrument,
    null as window_start,
    1 as place,
    'summary' as name,
    'no alert is chosen' as value,
    null as at_peak
