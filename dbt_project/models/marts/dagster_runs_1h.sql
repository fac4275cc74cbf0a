select
    hour as bucket,
    -- Dagster's own name of what is run without a job: by hand, or by a backfill of assets.
    case job when '__ASSET_JOB' then 'no job' else job end as job,
    status,
    runs,
    waited_p50_s,
    waited_p95_s,
    ran_p50_s,
    ran_p95_s
from {{ source('ops', 'runs_1h') }}
