select
    sizes.relation,
    split_part(sizes.relation, '.', 1) as schema,
    sizes.bytes,
    sizes.bytes / 1048576.0::double precision as megabytes,
    storage.keep
from ops.sizes() as sizes
left join {{ source('ops', 'storage') }} as storage on sizes.relation = storage.relation
