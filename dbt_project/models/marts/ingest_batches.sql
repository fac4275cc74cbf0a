select
    batch_id,
    venue,
    relation,
    rows,
    duplicates,
    bytes,
    committed_at,
    extract(epoch from committed_at - max_received_at)::double precision as delay_s
from {{ source('ops', 'ingest_batches') }}
