select
    minute as bucket,
    stage,
    samples,
    p50_s,
    p95_s,
    max_s
from {{ source('ops', 'latency_1m') }}
