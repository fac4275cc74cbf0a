-- Who may do what: ingest writes facts, surveillance reads them and writes judgement, an analyst reads judgement, an
-- officer reads it, too, and takes alerts through their life. Nobody of them is a superuser or owns a fact.
-- Repeatable: `sentinet migrate --roles` runs it, and every migrate after that, in one transaction; what a role had
-- and is not named here is taken away. Passwords are set by the caller, never here. The caller sets
-- sentinet.dagster_database: the name of Dagster's own database on this server, or nothing.

do $$
declare
    name text;
begin
    foreach name in array array['sentinet_ingest', 'sentinet_surveillance', 'sentinet_analyst', 'sentinet_officer'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
        end if;
        if exists (
            select from pg_roles
            where rolname = name and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)
        )
        then
            raise exception 'the role % has more rights than it may: take away what pg_roles shows of it', name;
        end if;
        -- Who migrates must be able to act for them: what dbt makes under surveillance is shown to the analyst.
        if not pg_has_role(name, 'usage') then
            execute format('grant %I to current_user', name);
        end if;
        execute format(
            'revoke all on all tables in schema market, surveillance, model, ops, rollup from %1$I;
            revoke all on all functions in schema ops, surveillance from %1$I;
            revoke all on schema market, surveillance, model, ops, rollup from %1$I;
            revoke all on database %2$I from %1$I;
            grant connect on database %2$I to %1$I',
            name, current_database()
        );
    end loop;
    execute format('revoke create, temporary on database %I from public', current_database());
    execute format(
        'grant temporary on database %I to sentinet_ingest, sentinet_surveillance', current_database()
    );
end
$$;

revoke create on schema public from public;

-- Ingest. A batch with duplicates goes through a temporary copy of the table, which takes reading it.
grant usage on schema market, ops to sentinet_ingest;
grant select, insert on all tables in schema market to sentinet_ingest;
revoke insert on market.instruments from sentinet_ingest;
grant update (repaired_at) on market.feed_gaps to sentinet_ingest;
grant select, insert on ops.ingest_batches to sentinet_ingest;

-- Surveillance: Dagster and dbt. Alerts are retracted, never deleted; what happened to one is never changed.
grant usage on schema market, surveillance, model, ops, rollup to sentinet_surveillance;
grant create on schema rollup to sentinet_surveillance;
-- What it made there is its own, but for what was taken away above.
grant all on all tables in schema rollup to sentinet_surveillance;
grant select on all tables in schema market, surveillance, model, ops to sentinet_surveillance;
grant insert, update, delete on all tables in schema surveillance, ops to sentinet_surveillance;
revoke delete on surveillance.alerts, surveillance.alert_events from sentinet_surveillance;
revoke update on surveillance.alert_events from sentinet_surveillance;
revoke insert, update, delete on surveillance.snoozes from sentinet_surveillance;
revoke insert, update, delete on ops.migrations, ops.storage, ops.ingest_batches from sentinet_surveillance;
grant insert, update on all tables in schema model to sentinet_surveillance;
grant execute on all functions in schema ops to sentinet_surveillance;

do $$
declare
    made record;
begin
    -- A continuous aggregate puts a trigger on its hypertable.
    if current_setting('timescaledb.license', true) = 'timescale' then
        grant trigger on all tables in schema market, surveillance to sentinet_surveillance;
    end if;
    -- What dbt made before there were roles.
    for made in
        select
            format('%I.%I', nspname, relname) as relation,
            case relkind when 'r' then 'table' when 'v' then 'view' else 'materialized view' end as kind
        from pg_class
        inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
        where nspname = 'rollup' and relkind in ('r', 'v', 'm') and relowner <> 'sentinet_surveillance'::regrole
    loop
        if made.kind = 'view' and exists (
            select from ops.hypertables() as hypertables where hypertables.relation = made.relation::regclass
        )
        then
            made.kind := 'materialized view';
        end if;
        execute format('alter %s %s owner to sentinet_surveillance', made.kind, made.relation);
    end loop;
    for made in
        select oid::regprocedure as routine
        from pg_proc
        where pronamespace = 'rollup'::regnamespace and proowner <> 'sentinet_surveillance'::regrole
    loop
        execute format('alter routine %s owner to sentinet_surveillance', made.routine);
    end loop;
    if exists (select from pg_database where datname = current_setting('sentinet.dagster_database')) then
        execute format(
            'alter database %I owner to sentinet_surveillance', current_setting('sentinet.dagster_database')
        );
    end if;
end
$$;

-- An analyst: judgement, sums, and how whole the data is. No raw frame, no model's bytes, no way to write.
grant usage on schema market, surveillance, model, ops, rollup to sentinet_analyst, sentinet_officer;
grant select on all tables in schema surveillance, rollup to sentinet_analyst, sentinet_officer;
grant select on
market.instruments, market.feed_gaps, ops.migrations, ops.storage, ops.ingest_batches, ops.latency_1m,
ops.check_results, ops.runs_1h, ops.sizes_1h
to sentinet_analyst, sentinet_officer;
grant select (
    model_id, model, trained_from, trained_through, effective_from, feature_names, threshold, samples, created_at
) on model.models to sentinet_analyst, sentinet_officer;
grant execute on function ops.hypertables(), ops.expiring(), ops.sizes() to sentinet_analyst, sentinet_officer;
alter default privileges for role sentinet_surveillance in schema rollup grant select on tables
to sentinet_analyst, sentinet_officer;
do $$
begin
    execute format(
        'alter role sentinet_analyst in database %I set default_transaction_read_only = on', current_database()
    );
    execute format('alter role sentinet_analyst in database %I set statement_timeout = ''2min''', current_database());
end
$$;

-- An officer: an analyst who takes alerts through their life. By these functions alone: who did it is always on record.
grant select on market.trades, market.quotes to sentinet_officer;
grant execute on function surveillance.change_alert(uuid, text, text, text, text) to sentinet_officer;
grant execute on function surveillance.snooze(text, smallint, timestamptz, text, text) to sentinet_officer;
