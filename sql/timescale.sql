-- What of ops.storage the server itself can keep: hypertables on every TimescaleDB, columnstore and retention
-- policies on its community edition. On plain PostgreSQL this file does nothing; there, and on the Apache edition,
-- the functions of sql/storage.sql keep the rest. Repeatable: `sentinet migrate` runs it after every migration, in
-- one transaction, under the same lock; a changed value of ops.storage is applied. The caller sets
-- sentinet.to_hypertables (on or off).

do $$
begin
    -- Installed on the machine is not enough: the library has to be loaded when the server starts. Its loader is known by
    -- its settings, which anybody may read.
    if exists (select from pg_available_extensions where name = 'timescaledb')
        and current_setting('timescaledb.disable_load', true) is not null
    then
        create extension if not exists timescaledb;
    end if;
exception when insufficient_privilege then
    raise notice 'timescaledb is there and may not be created: tables stay plain';
end
$$;

do $$
declare
    stored record;
    has_rows boolean;
begin
    if not exists (select from pg_extension where extname = 'timescaledb') then
        return;
    end if;
    for stored in
        select
            to_regclass(storage.relation) as relation,
            storage.time_column,
            storage.chunk,
            dimensions.time_interval as chunk_now
        from ops.storage as storage
        left join timescaledb_information.dimensions as dimensions
            on
                to_regclass(storage.relation)
                = to_regclass(format('%I.%I', dimensions.hypertable_schema, dimensions.hypertable_name))
        where storage.chunk is not null and to_regclass(storage.relation) is not null
        order by storage.relation
    loop
        if stored.chunk_now is null then
            -- A table with rows, made before the extension came, is moved only on request: it locks the table and copies
            -- it. The tables bring the indexes they need.
            execute format('select exists (select from %s)', stored.relation) into has_rows;
            continue when has_rows and current_setting('sentinet.to_hypertables') <> 'on';
            perform create_hypertable(
                stored.relation,
                by_range(stored.time_column::name, stored.chunk),
                create_default_indexes => false,
                if_not_exists => true,
                migrate_data => true
            );
        elsif stored.chunk_now <> stored.chunk then
            -- For the chunks to come.
            perform set_chunk_time_interval(stored.relation, stored.chunk);
        end if;
    end loop;
end
$$;

-- The community edition. Every edition has the functions; only this one lets them be called. The columnstore has the
-- names used here since TimescaleDB 2.18: an older server keeps rows, and retention, but does not compress.
do $$
declare
    stored record;
    columns_now text;
    compress_after interval;
    drop_after interval;
    has_columnstore boolean;
begin
    if current_setting('timescaledb.license', true) is distinct from 'timescale'
        or not exists (select from pg_extension where extname = 'timescaledb')
    then
        return;
    end if;
    -- Judging an hour again, or taking in late facts, unpacks what is in the columnstore: by default no more than 100,000
    -- rows a transaction, which is an hour of some hundred instruments. Of the database: it holds for every session.
    if not exists (
        select from pg_db_role_setting
        where
            setdatabase = (select oid from pg_database where datname = current_database())
            and setrole = 0
            and 'timescaledb.max_tuples_decompressed_per_dml_transaction=0' = any (setconfig)
    )
    then
        execute format(
            'alter database %I set timescaledb.max_tuples_decompressed_per_dml_transaction = 0', current_database()
        );
    end if;
    has_columnstore := exists (
        select from pg_extension
        where extname = 'timescaledb' and (string_to_array(split_part(extversion, '-', 1), '.')::int[])[1:2] >= array[2, 18]
    );
    for stored in
        select
            to_regclass(storage.relation) as relation,
            hypertables.hypertable_schema,
            hypertables.hypertable_name,
            hypertables.compression_enabled,
            storage.keep,
            storage.columnstore_after,
            storage.segment_by,
            storage.order_by
        from ops.storage as storage
        inner join timescaledb_information.hypertables as hypertables
            on
                to_regclass(storage.relation)
                = to_regclass(format('%I.%I', hypertables.hypertable_schema, hypertables.hypertable_name))
        order by storage.relation
    loop
        select max((config ->> 'compress_after')::interval) filter (where proc_name = 'policy_compression'),
            max((config ->> 'drop_after')::interval) filter (where proc_name = 'policy_retention')
        into compress_after, drop_after
        from timescaledb_information.jobs
        where hypertable_schema = stored.hypertable_schema and hypertable_name = stored.hypertable_name;

        if has_columnstore then
            execute
                'select translate(concat(segmentby, '' by '', orderby), '' "'', '''')
                from timescaledb_information.hypertable_columnstore_settings where hypertable = $1'
                into columns_now using stored.relation;
            -- New chunks follow new settings; those in the columnstore stay as they are.
            if stored.columnstore_after is not null and (
                not stored.compression_enabled
                or columns_now is distinct from translate(concat(stored.segment_by, ' by ', stored.order_by), ' ', '')
            )
            then
                execute format(
                    'alter table %s set (timescaledb.enable_columnstore, timescaledb.segmentby = %L, timescaledb.orderby = %L)',
                    stored.relation, coalesce(stored.segment_by, ''), stored.order_by
                );
            end if;
            if compress_after is distinct from stored.columnstore_after then
                if compress_after is not null then
                    call remove_columnstore_policy(stored.relation, if_exists => true);
                end if;
                if stored.columnstore_after is not null then
                    call add_columnstore_policy(stored.relation, after => stored.columnstore_after, if_not_exists => true);
                end if;
            end if;
        end if;
        if drop_after is distinct from stored.keep then
            if drop_after is not null then
                perform remove_retention_policy(stored.relation, if_exists => true);
            end if;
            if stored.keep is not null then
                perform add_retention_policy(stored.relation, drop_after => stored.keep, if_not_exists => true);
            end if;
        end if;
    end loop;
end
$$;
