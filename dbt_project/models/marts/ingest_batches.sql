select
    batch_id,
    venue,
    relation,
    rows,
    duplicates,
    bytes,
    committed_at,
    case when not is_replay then extract(epoch from committed_at - max_received_at)::double precision end as delay_s
from {{ source('ops', 'ingest_batches') }}
