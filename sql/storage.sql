-- What ops.storage comes to on this server: what is kept how, how big it is, and what removes rows past their time
-- where the server has no policies: one chunk, or the rows of a few blocks, a call and a transaction, so that nobody
-- waits for long. The functions have their owner's rights and remove nothing but what ops.storage says is expired:
-- who may call them needs no right to delete facts. Repeatable, as sql/timescale.sql.

-- The hypertables and continuous aggregates, where their chunks are listed, and whether the server drops them by
-- itself.
create or replace function ops.hypertables()
returns table (relation regclass, chunks_schema name, chunks_table name, has_policy boolean)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from pg_extension where extname = 'timescaledb') then
        return;
    end if;
    return query
    with
    found as (
        select
            hypertable_schema as schema_name,
            hypertable_name as table_name,
            hypertable_schema as chunks_schema,
            hypertable_name as chunks_table
        from timescaledb_information.hypertables
        union all
        select view_schema, view_name, materialization_hypertable_schema, materialization_hypertable_name
        from timescaledb_information.continuous_aggregates
    )
    select
        format('%I.%I', found.schema_name, found.table_name)::regclass,
        found.chunks_schema,
        found.chunks_table,
        exists (
            select from timescaledb_information.jobs as jobs
            where
                jobs.proc_name = 'policy_retention'
                and (jobs.hypertable_schema, jobs.hypertable_name) in (
                    (found.schema_name, found.table_name), (found.chunks_schema, found.chunks_table)
                )
        )
    from found;
end
$$;

-- Every relation of ops.storage that is there: its time, for how long and from when on it is kept (null: for ever),
-- and what removes the rest: a policy of the server, dropping chunks, deleting rows.
create or replace function ops.expiring()
returns table (relation text, time_column text, keep interval, before timestamptz, removed_by text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select
        format('%I.%I', namespaces.nspname, classes.relname),
        storage.time_column,
        storage.keep,
        -- Whole hours: what is judged by the hour is not left with half of its facts.
        date_trunc('hour', now() - storage.keep),
        case
            when hypertables.relation is null then 'rows'
            when hypertables.has_policy then 'policy'
            else 'chunks'
        end
    from ops.storage as storage
    inner join pg_namespace as namespaces on split_part(storage.relation, '.', 1) = namespaces.nspname
    inner join pg_class as classes
        on
            namespaces.oid = classes.relnamespace
            and split_part(storage.relation, '.', 2) in (classes.relname, '*')
    inner join pg_attribute as attributes
        on classes.oid = attributes.attrelid and storage.time_column = attributes.attname and attributes.attnum > 0
    left join ops.hypertables() as hypertables on classes.oid = hypertables.relation
    where classes.relkind = 'r' or hypertables.relation is not null
    order by 1
$$;

-- How big each of them is, with its indexes; and of what is in the columnstore, how big it was and is.
create or replace function ops.sizes()
returns table (relation text, bytes bigint, rowstore_bytes bigint, columnstore_bytes bigint)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    found record;
    home text;
    has_columnstore boolean;
begin
    select
        extnamespace::regnamespace::text,
        current_setting('timescaledb.license', true) = 'timescale'
        and to_regproc(format('%s.hypertable_columnstore_stats', extnamespace::regnamespace)) is not null
    into home, has_columnstore
    from pg_extension
    where extname = 'timescaledb';
    for found in select expiring.relation as name, expiring.removed_by from ops.expiring() as expiring loop
        relation := found.name;
        rowstore_bytes := null;
        columnstore_bytes := null;
        bytes := pg_total_relation_size(found.name::regclass);
        if found.removed_by <> 'rows' then
            execute format('select %s.hypertable_size($1)', home) into bytes using found.name::regclass;
            if has_columnstore then
                execute format(
                    'select sum(before_compression_total_bytes)::bigint, sum(after_compression_total_bytes)::bigint
                    from %s.hypertable_columnstore_stats($1)', home
                ) into rowstore_bytes, columnstore_bytes using found.name::regclass;
            end if;
        end if;
        return next;
    end loop;
end
$$;

-- The first blocks of the stretches of `pages` blocks in which rows are expired.
create or replace function ops.expired_blocks(of_relation text, pages integer)
returns setof bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
declare
    found record;
begin
    select * into strict found from ops.expiring() where relation = of_relation and removed_by = 'rows';
    return query execute format(
        'select distinct (ctid::text::point)[0]::bigint / $1 * $1 from %s where %I < $2 order by 1',
        found.relation, found.time_column
    ) using pages, found.before;
end
$$;

-- Delete the expired rows of a stretch of blocks; how many there were. The newest batch of each venue stays: it says
-- how far the venue was received.
create or replace function ops.delete_expired(of_relation text, first_block bigint, pages integer)
returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
declare
    found record;
    spared text := '';
    deleted bigint;
begin
    select * into strict found from ops.expiring() where relation = of_relation and removed_by = 'rows';
    if of_relation = 'ops.ingest_batches' then
        spared := 'and max_received_at < (
            select max(newest.max_received_at) from ops.ingest_batches as newest where newest.venue = expired.venue
        )';
    end if;
    execute format(
        'delete from %s as expired where ctid >= $1 and ctid < $2 and %I < $3 %s',
        found.relation, found.time_column, spared
    ) using format('(%s,0)', first_block)::tid, format('(%s,0)', first_block + pages)::tid, found.before;
    get diagnostics deleted = row_count;
    return deleted;
end
$$;

-- Read a stretch of blocks again into the relation's block-range indexes. The room of deleted rows is given to new
-- ones: a range that still remembered the old times would match both, and a search for the last seconds would read
-- all of them.
create or replace function ops.summarize_again(of_relation text, first_block bigint, pages integer)
returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
declare
    found record;
    brin record;
begin
    select * into strict found from ops.expiring() where relation = of_relation and removed_by = 'rows';
    for brin in
        select
            indexes.indexrelid::regclass as relation,
            coalesce((
                select option_value::integer
                from pg_options_to_table(classes.reloptions)
                where option_name = 'pages_per_range'
            ), 128) as range_pages
        from pg_index as indexes
        inner join pg_class as classes on indexes.indexrelid = classes.oid
        inner join pg_am as methods on classes.relam = methods.oid and methods.amname = 'brin'
        where indexes.indrelid = found.relation::regclass
    loop
        perform
            brin_desummarize_range(brin.relation, block),
            brin_summarize_range(brin.relation, block)
        from generate_series(first_block, first_block + pages - 1, brin.range_pages) as blocks (block);
    end loop;
end
$$;

-- Drop the oldest chunk of which every row is expired: its name and its size; no row where there is none.
create or replace function ops.drop_expired_chunk(of_relation text)
returns table (chunk text, bytes bigint)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
declare
    found record;
    oldest record;
    home constant text := (select extnamespace::regnamespace::text from pg_extension where extname = 'timescaledb');
begin
    select * into strict found from ops.expiring() where relation = of_relation and removed_by = 'chunks';
    select
        format('%I.%I', chunks.chunk_schema, chunks.chunk_name) as name,
        chunks.range_end
    into oldest
    from ops.hypertables() as hypertables
    inner join timescaledb_information.chunks as chunks
        on
            hypertables.chunks_schema = chunks.hypertable_schema
            and hypertables.chunks_table = chunks.hypertable_name
    where hypertables.relation = found.relation::regclass and chunks.range_end <= found.before
    order by chunks.range_end
    limit 1;
    if oldest is null then
        return;
    end if;
    chunk := oldest.name;
    bytes := pg_total_relation_size(oldest.name::regclass);
    execute format('select %s.drop_chunks($1, older_than => $2)', home)
    using found.relation::regclass, oldest.range_end;
    return next;
end
$$;

revoke all on function ops.hypertables() from public;
revoke all on function ops.expiring() from public;
revoke all on function ops.sizes() from public;
revoke all on function ops.expired_blocks(text, integer) from public;
revoke all on function ops.delete_expired(text, bigint, integer) from public;
revoke all on function ops.summarize_again(text, bigint, integer) from public;
revoke all on function ops.drop_expired_chunk(text) from public;
