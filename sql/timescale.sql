-- Hypertables, where TimescaleDB is there; on plain PostgreSQL this file does nothing. Repeatable: `sentinet migrate`
-- runs it after every migration, in one transaction, under the same lock. Works on the Apache-2 edition too.
-- The caller sets sentinet.fact_chunk and sentinet.judgement_chunk (intervals) for the transaction.

do $$
begin
    -- Installed on the machine is not enough: the library has to be loaded when the server starts.
    if exists (select from pg_available_extensions where name = 'timescaledb')
        and current_setting('shared_preload_libraries') ~ '\mtimescaledb\M'
    then
        create extension if not exists timescaledb;
    end if;
end
$$;

do $$
declare
    hypertable record;
begin
    if not exists (select from pg_extension where extname = 'timescaledb') then
        return;
    end if;
    for hypertable in
        select
            relation,
            time_column,
            chunk::interval
        from (values
            ('market.trades', 'time', current_setting('sentinet.fact_chunk')),
            ('market.quotes', 'time', current_setting('sentinet.fact_chunk')),
            ('market.books', 'time', current_setting('sentinet.fact_chunk')),
            ('market.book_flows', 'time', current_setting('sentinet.fact_chunk')),
            ('market.reference_prices', 'time', current_setting('sentinet.fact_chunk')),
            ('surveillance.windows', 'window_start', current_setting('sentinet.judgement_chunk')),
            ('surveillance.features', 'window_start', current_setting('sentinet.judgement_chunk')),
            ('surveillance.correlations', 'window_start', current_setting('sentinet.judgement_chunk')),
            ('surveillance.scores', 'window_start', current_setting('sentinet.judgement_chunk'))
        ) as listed (relation, time_column, chunk)
    loop
        -- The tables bring the indexes they need. A table with rows, made before the extension came, is moved.
        perform create_hypertable(
            hypertable.relation::regclass,
            by_range(hypertable.time_column::name, hypertable.chunk),
            create_default_indexes => false,
            if_not_exists => true,
            migrate_data => true
        );
        -- For the chunks to come: an existing hypertable follows a changed setting.
        perform set_chunk_time_interval(hypertable.relation::regclass, hypertable.chunk);
    end loop;
end
$$;
