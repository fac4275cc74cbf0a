select
    hour as bucket,
    relation,
    split_part(relation, '.', 1) as schema,
    bytes,
    bytes / 1048576.0::double precision as megabytes
from {{ source('ops', 'sizes_1h') }}
