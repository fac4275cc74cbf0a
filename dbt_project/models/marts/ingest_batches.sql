select
    batches.batch_id,
    batches.venue,
    batches.relation,
    batches.rows,
    batches.duplicates,
    batches.bytes,
    batches.committed_at,
    {{ delay_of('batches') }} as delay_s
from {{ source('ops', 'ingest_batches') }} as batches
