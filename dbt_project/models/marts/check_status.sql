with
newest as (
    select distinct on (relation, expectation) *
    from {{ source('ops', 'check_results') }}
    order by relation asc, expectation asc, check_result_id desc
)

select
    relation,
    expectation,
    severity,
    engine,
    case
        when error is not null then 'not told'
        when failing = 0 then 'holds'
        when severity = 'error' then 'broken'
        else 'warns'
    end as status,
    failing,
    rows,
    range_start,
    range_end,
    checked_at,
    error
from newest
