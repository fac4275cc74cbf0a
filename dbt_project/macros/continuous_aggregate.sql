{#- The materialization `continuous_aggregate`: the same rows, kept by whoever can.

    TimescaleDB's community edition    a continuous aggregate with a refresh policy
    every other, and `native: false`   a table, and a function that gives its rows of a range: `<name>_between`

    An unchanged definition is left alone. A changed one is applied together with its rows, in one transaction; what
    would be lost for good (buckets older than the facts that are left) is refused, unless --full-refresh says that it
    may be. Rows are brought up to date by rollup.refresh or by the server, not by dbt.

    bucket_width   how long a bucket is, as an interval
    facts          the relations of schema market that it stands on, directly or through others
    look_ahead     how long after a fact it matters to a bucket; none: its own bucket only
    native         whether TimescaleDB could keep it; window functions and joins of hypertables it cannot -#}
{% materialization continuous_aggregate, adapter='postgres' %}
    {%- set native = is_native() -%}
    {%- set target_relation = this.incorporate(type='view' if native else 'table') -%}
    {#- Without the database's name: a copy or a database that was renamed has the same rollups. -#}
    {%- set definition = sql | replace('"' ~ target.database ~ '".', '') -%}
    {%- set definition_hash = local_md5((native | string) ~ config.get('facts') ~ config.get('look_ahead')
        ~ config.get('bucket_width') ~ ' '.join(definition.split())) -%}
    {%- set known = registered_definition() -%}
    {%- set unchanged = known and known.definition_hash == definition_hash and not should_full_refresh() -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if unchanged %}
        {% call noop_statement('main', 'UNCHANGED', 'UNCHANGED', 0) -%}
            -- The definition is the one that is in force.
        {%- endcall %}
        {#- A statement opens the transaction that is committed below. -#}
        {% call statement('open') -%} select 1 {%- endcall %}
    {% else %}
        {% call statement('main') -%}
            {{ define_native(target_relation, definition, known) if native
                else define_table(target_relation, definition, known) }}
            {{ register_definition(native, definition_hash) }}
            {% if not native %}select {{ target.schema }}.refresh('{{ this.identifier }}');{% endif %}
        {%- endcall %}
    {% endif %}

    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{#- Whether this model is a continuous aggregate of TimescaleDB here. The functions are in every edition; the licence says
    which of them work. A version before 2.18 cannot be told to make buckets anew whose facts were set aside. -#}
{% macro is_native() -%}
    {%- if not execute or not config.get('native', true) or config.get('materialized') != 'continuous_aggregate' -%}
        {{- return(false) -}}
    {%- endif -%}
    {%- set found = run_query(
        "select coalesce(bool_and(current_setting('timescaledb.license', true) = 'timescale'"
        " and (string_to_array(split_part(extversion, '-', 1), '.')::int[])[1:2] >= array[2, 18]), false) as is_native"
        " from pg_extension where extname = 'timescaledb'"
    ) -%}
    {{- return(found.rows[0]['is_native'] is true) -}}
{%- endmacro %}


{% macro define_native(relation, sql, known) -%}
    {%- if known -%}{{ refuse_loss() }}{{ drop_aggregate(relation, known.is_native) }}{%- endif %}
    create materialized view {{ relation }}
    with (timescaledb.continuous, timescaledb.materialized_only = true)
    as
    {{ sql }}
    with no data;
{%- endmacro %}


{#- With the same columns the table stays, and with it what stands on it and the buckets older than the facts. -#}
{% macro define_table(relation, sql, known) -%}
    {%- set definition -%}
        from (values (null::timestamptz, null::timestamptz)) as bounds (range_start, range_end)
        cross join lateral (
            {{ sql }}
        ) as definition
    {%- endset -%}
    {%- set wanted = columns_of_query('select definition.* ' ~ definition) -%}
    {%- set found = columns_of(relation) if known and not known.is_native else [] -%}
    {%- if wanted != found or should_full_refresh() %}
        {%- if known -%}{{ refuse_loss() }}{{ drop_aggregate(relation, known.is_native) }}{%- endif %}
        create table {{ relation }} as select definition.* {{ definition }} with no data;
        alter table {{ relation }} add primary key ({{ config.get('key', ['instrument_id', 'bucket']) | join(', ') }});
        create index on {{ relation }} (bucket);
    {%- endif %}
    create or replace function {{ relation.schema }}.{{ relation.identifier }}_between(
        range_start timestamptz, range_end timestamptz
    )
    returns setof {{ relation }} language sql stable
    as $definition$
    {{ sql }}
    $definition$;
{%- endmacro %}


{#- Names and types as the server says them, in order. -#}
{% macro columns_of(relation) -%}
    {%- set columns = run_query(
        "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
        " where attrelid = '" ~ relation ~ "'::regclass and attnum > 0 and not attisdropped order by attnum"
    ) -%}
    {%- set found = [] -%}
    {%- for column in columns.rows -%}{%- do found.append(column['attname'] ~ ' ' ~ column['type']) -%}{%- endfor -%}
    {{- return(found) -}}
{%- endmacro %}


{#- By a table without rows: what the driver knows of a query's types has other names than the server's. -#}
{% macro columns_of_query(query) -%}
    {%- do run_query('drop table if exists pg_temp.wanted; create temporary table wanted as ' ~ query ~ ' with no data') -%}
    {%- set found = columns_of('pg_temp.wanted') -%}
    {%- do run_query('drop table pg_temp.wanted') -%}
    {{- return(found) -}}
{%- endmacro %}


{% macro drop_aggregate(relation, was_native) -%}
    drop {{ 'materialized view' if was_native else 'table' }} if exists {{ relation }} cascade;
{%- endmacro %}


{#- A rebuild makes rows of the facts that are left: refuse it where the rollup reaches further back than they do. -#}
{% macro refuse_loss() -%}
    {%- if not should_full_refresh() -%}
        {%- set reach = run_query(
            "select found.first_bucket::text, facts.low::text as first_fact,"
            " coalesce(found.first_bucket < date_bin(known.bucket_width, facts.low, '1970-01-01 00:00:00+00'),"
            " found.first_bucket is not null) as is_lost"
            " from " ~ target.schema ~ ".continuous_aggregates as known"
            " cross join lateral " ~ target.schema ~ ".span_of_facts(known.facts) as facts"
            " cross join (select min(bucket) as first_bucket from " ~ this ~ ") as found"
            " where known.name = '" ~ this.identifier ~ "'"
        ).rows[0] -%}
        {%- if reach['is_lost'] -%}
            {{ exceptions.raise_compiler_error(
                this ~ " reaches back to " ~ reach['first_bucket'] ~ ", the facts it would be made of to "
                ~ (reach['first_fact'] or 'nothing') ~ ": a changed definition would lose what lies between. Give the new "
                ~ "definition a name of its own (" ~ this.identifier ~ "_v2), or run dbt with --full-refresh to let it go."
            ) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
