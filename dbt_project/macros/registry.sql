{#- What the database knows of its continuous aggregates, and how it keeps those that are tables. -#}


{% macro prepare_rollup() -%}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        {{ registry_tables() }}
        {{ span_function() }}
        {{ stale_function() }}
        {{ refresh_function() }}
        {{ depth_function() }}
        {{ policies_function() }}
    {%- endif -%}
{%- endmacro %}


{#- When all is made: policies are those of ops.storage, though no definition has changed. -#}
{% macro apply_policies() -%}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        select {{ target.schema }}.apply_policies()
    {%- endif -%}
{%- endmacro %}


{#- Written when everything was made: whoever deploys next finds that nothing is to be done. -#}
{% macro record_deployment(results) -%}
    {%- set fingerprint = env_var('SENTINET_DBT_FINGERPRINT', '') -%}
    {%- if execute and fingerprint and flags.WHICH == 'run'
        and results | rejectattr('status', 'equalto', 'success') | list | length == 0 -%}
        insert into {{ target.schema }}.deployments (fingerprint) values ('{{ fingerprint }}')
    {%- endif -%}
{%- endmacro %}


{% macro registered_definition() -%}
    {%- set rows = run_query(
        "select definition_hash, is_native from " ~ target.schema ~ ".continuous_aggregates where name = '"
        ~ this.identifier ~ "' and to_regclass('" ~ this ~ "') is not null"
    ).rows -%}
    {{- return(rows[0] if rows else none) -}}
{%- endmacro %}


{#- refreshed_to null: its rows are to be made of all facts; so are those of what is made of it. -#}
{% macro register_definition(native, definition_hash) -%}
    {%- set reads = [] -%}
    {%- for id in model.depends_on.nodes if id in graph.nodes -%}
        {%- if graph.nodes[id].config.materialized == 'continuous_aggregate' -%}
            {%- do reads.append(graph.nodes[id].name) -%}
        {%- endif -%}
    {%- endfor %}
    insert into {{ target.schema }}.continuous_aggregates (
        name, is_native, definition_hash, facts, reads, bucket_width, look_ahead
    )
    values (
        '{{ this.identifier }}', {{ native }}, '{{ definition_hash }}', '{{ '{' ~ config.require('facts') | join(',') ~ '}' }}',
        '{{ '{' ~ reads | join(',') ~ '}' }}', '{{ config.require('bucket_width') }}', '{{ config.get('look_ahead') or '0' }}'
    )
    on conflict (name) do update set
        is_native = excluded.is_native,
        definition_hash = excluded.definition_hash,
        facts = excluded.facts,
        reads = excluded.reads,
        bucket_width = excluded.bucket_width,
        look_ahead = excluded.look_ahead,
        refreshed_at = null;
    with recursive
    touched as (
        select '{{ this.identifier }}' as name
        union
        select known.name
        from {{ target.schema }}.continuous_aggregates as known
        inner join touched on touched.name = any(known.reads)
    )

    update {{ target.schema }}.continuous_aggregates as known
    set refreshed_to = null
    from touched
    where known.name = touched.name;
{%- endmacro %}


{% macro registry_tables() -%}
    create table if not exists {{ target.schema }}.continuous_aggregates (
        name text primary key,
        is_native boolean not null,
        definition_hash text not null,
        facts text [] not null,
        reads text [] not null,
        bucket_width interval not null,
        look_ahead interval not null,
        refreshed_to xid8,
        refreshed_at timestamptz
    );
    comment on table {{ target.schema }}.continuous_aggregates is
    'What dbt has made and how far it is brought up to date: every transaction below refreshed_to is in it.';
    create table if not exists {{ target.schema }}.deployments (
        fingerprint text not null,
        deployed_at timestamptz not null default clock_timestamp()
    );
    comment on table {{ target.schema }}.deployments is
    'The versions of the dbt project that were applied as a whole, the newest last.';
{%- endmacro %}


{% macro span_function() -%}
    create or replace function {{ target.schema }}.span_of_facts(facts text [], out low timestamptz, out high timestamptz)
    language plpgsql stable
    as $$
    declare
        fact text;
        fact_low timestamptz;
        fact_high timestamptz;
    begin
        foreach fact in array facts loop
            execute format(
                'select min(%1$I), max(%1$I) from market.%2$I',
                case fact when 'feed_gaps' then 'started_at' when 'rejected_frames' then 'received_at' else 'time' end,
                fact
            ) into fact_low, fact_high;
            low := least(low, fact_low);
            high := greatest(high, fact_high);
        end loop;
    end
    $$;
    comment on function {{ target.schema }}.span_of_facts is 'The times of the first and the last of these facts, or nulls.';
{%- endmacro %}


{#- Transactions from refreshed_to on are those that the last refresh could not see; below the horizon, the oldest that
    still runs, nothing can appear any more. A refreshed_to of the future is that of another server, whose data was moved
    here. -#}
{% macro stale_function() -%}
    -- Not replaced: what it gives may have changed since it was made.
    drop function if exists {{ target.schema }}.stale_buckets(text);
    create function {{ target.schema }}.stale_buckets(
        aggregate_name text,
        out horizon xid8,
        out is_whole boolean,
        out stale tstzmultirange,
        out set_aside tstzmultirange
    )
    language plpgsql stable set timezone to 'UTC'
    as $$
    declare
        aggregate {{ target.schema }}.continuous_aggregates;
        epoch constant timestamptz := '1970-01-01 00:00:00+00';
    begin
        select * into strict aggregate from {{ target.schema }}.continuous_aggregates where name = aggregate_name;
        horizon := pg_snapshot_xmin(pg_current_snapshot());
        is_whole := aggregate.refreshed_to is null or aggregate.refreshed_to > pg_snapshot_xmax(pg_current_snapshot());
        if is_whole then
            stale := '{(,)}';
            set_aside := '{}';
        else
            select
                coalesce(range_agg(buckets) filter (where not is_aside), '{}'),
                coalesce(range_agg(buckets) filter (where is_aside), '{}')
            into stale, set_aside
            from (
                select span, false as is_aside
                from ops.ingest_batches
                cross join lateral unnest(touched) as span
                where
                    relation = any(aggregate.facts)
                    and xid >= aggregate.refreshed_to
                    and xid < horizon
                union all
                select tstzrange(time, time, '[]') as span, true as is_aside
                from surveillance.quarantined_facts
                where
                    split_part(relation, '.', 2) = any(aggregate.facts)
                    and xid >= aggregate.refreshed_to
                    and xid < horizon
            ) as changes
            cross join lateral (
                select
                    tstzrange(
                        date_bin(aggregate.bucket_width, lower(span), epoch),
                        date_bin(aggregate.bucket_width, upper(span), epoch)
                        + aggregate.bucket_width + aggregate.look_ahead
                    ) as buckets
            ) as widened;
        end if;
    end
    $$;
    comment on function {{ target.schema }}.stale_buckets is
    'The buckets that facts were committed to since the last refresh, however late, by the batch ledger; and those with
    facts that were set aside since then, or are no longer.';
{%- endmacro %}


{#- A day at a time, so that no sort is of more than that. Where all is made anew, buckets before that of the first fact
    are kept as they are: what they were made of is gone. -#}
{% macro refresh_function() -%}
    create or replace function {{ target.schema }}.refresh(aggregate_name text)
    returns bigint language plpgsql set timezone to 'UTC'
    as $$
    declare
        aggregate {{ target.schema }}.continuous_aggregates;
        found record;
        facts record;
        span tstzrange;
        low timestamptz;
        high timestamptz;
        part bigint;
        written bigint := 0;
    begin
        -- One refresh of it at a time.
        select * into strict aggregate from {{ target.schema }}.continuous_aggregates
        where name = aggregate_name for update;
        if aggregate.is_native then
            raise exception '% is refreshed by TimescaleDB', aggregate_name
            using hint = 'call refresh_continuous_aggregate';
        end if;
        select * into found from {{ target.schema }}.stale_buckets(aggregate_name);
        if found.is_whole then
            select * into facts from {{ target.schema }}.span_of_facts(aggregate.facts);
            low := date_bin(aggregate.bucket_width, facts.low, '1970-01-01 00:00:00+00');
            high := date_bin(aggregate.bucket_width, facts.high, '1970-01-01 00:00:00+00')
            + aggregate.bucket_width + aggregate.look_ahead;
            execute format('delete from {{ target.schema }}.%I where bucket >= $1', aggregate_name) using low;
            found.stale := case when low is null then '{}' else tstzmultirange(tstzrange(low, high)) end;
        end if;
        foreach span in array array(select unnest(found.stale + found.set_aside)) loop
            low := lower(span);
            while low < upper(span) loop
                high := least(upper(span), date_bin('1 day', low, '1970-01-01 00:00:00+00') + interval '1 day');
                if not found.is_whole then
                    execute format('delete from {{ target.schema }}.%I where bucket >= $1 and bucket < $2', aggregate_name)
                    using low, high;
                end if;
                execute format(
                    'insert into {{ target.schema }}.%1$I select * from {{ target.schema }}.%2$I($1, $2)',
                    aggregate_name, aggregate_name || '_between'
                ) using low, high;
                get diagnostics part = row_count;
                written := written + part;
                low := high;
            end loop;
        end loop;
        update {{ target.schema }}.continuous_aggregates
        set refreshed_to = found.horizon, refreshed_at = clock_timestamp()
        where name = aggregate_name;
        return written;
    end
    $$;
    comment on function {{ target.schema }}.refresh is
    'Make the rows of stale buckets anew, in the caller''s transaction; how many were written.';
{%- endmacro %}


{#- The same as bid_depth_10bps and ask_depth_10bps of surveillance.windows. A function, as a continuous aggregate takes
    no subquery; in PL/pgSQL, as that takes two thirds of the time of SQL over unnest. -#}
{% macro depth_function() -%}
    create or replace function {{ target.schema }}.depth_within_10bps(
        prices double precision [], sizes double precision [], mid double precision
    )
    returns double precision language plpgsql immutable strict parallel safe
    as $$
    declare
        depth double precision := 0;
    begin
        for level in 1..cardinality(prices) loop
            if abs(prices[level] - mid) <= 10e-4 * mid then
                depth := depth + prices[level] * sizes[level];
            end if;
        end loop;
        return depth;
    end
    $$;
    comment on function {{ target.schema }}.depth_within_10bps is
    'Quote currency within 10 basis points of the mid, on one side of a book.';
{%- endmacro %}


{#- Who does what for a continuous aggregate of TimescaleDB: its refresh and its retention are policies made here;
    tables get theirs from sql/timescale.sql, by the same ops.storage. Rollups are small: there is no columnstore. -#}
{% macro policies_function() -%}
    create or replace function {{ target.schema }}.apply_policies()
    returns void language plpgsql
    as $$
    declare
        aggregate record;
    begin
        for aggregate in
            select
                format('{{ target.schema }}.%I', known.name)::regclass as relation,
                -- Of what is older than that it is made of, nothing is computed anew: it would be lost.
                (
                    select
                        case
                            when count(storage.keep) > 0
                                then greatest(min(storage.keep) - interval '1 hour', 3 * known.bucket_width)
                        end
                    from ops.storage as storage
                    where
                        case
                            when known.reads = '{}' then storage.relation = any(
                                select 'market.' || fact from unnest(known.facts) as fact
                            )
                            else storage.relation = '{{ target.schema }}.*'
                        end
                ) as reach,
                greatest(least(known.bucket_width, interval '1 hour'), interval '1 minute') as pace,
                (
                    select storage.keep
                    from ops.storage as storage
                    where storage.relation = '{{ target.schema }}.*'
                ) as keep
            from {{ target.schema }}.continuous_aggregates as known
            where known.is_native
            order by known.name
        loop
            perform remove_continuous_aggregate_policy(aggregate.relation, if_exists => true);
            perform add_continuous_aggregate_policy(
                aggregate.relation,
                start_offset => aggregate.reach,
                end_offset => null::interval,
                schedule_interval => aggregate.pace
            );
            perform remove_retention_policy(aggregate.relation, if_exists => true);
            if aggregate.keep is not null then
                perform add_retention_policy(aggregate.relation, drop_after => aggregate.keep);
            end if;
        end loop;
    end
    $$;
    comment on function {{ target.schema }}.apply_policies is
    'Have TimescaleDB refresh its continuous aggregates, and drop what is past its time, as ops.storage says.';
{%- endmacro %}
