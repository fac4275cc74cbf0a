{#- What the definitions of rollups are written with. The rest of macros/ is how they are made and kept. -#}


{#- The start of the bucket that `column` lies in. Buckets are half-open and aligned to 1970-01-01 UTC, which is where
    TimescaleDB puts buckets up to a day, too; a continuous aggregate takes no other function. -#}
{% macro bucket_of(width, column) -%}
    {%- if is_native() -%}
        time_bucket('{{ width }}', {{ column }})
    {%- else -%}
        date_bin('{{ width }}', {{ column }}, timestamptz '1970-01-01 00:00:00+00')
    {%- endif -%}
{%- endmacro %}


{#- Whether a row belongs to what is refreshed, or to the `look_back` before it that the refreshed rows stand on.
    Outside of TimescaleDB's continuous aggregates a definition is a function of range_start and range_end. -#}
{% macro in_range(column, look_back=none) -%}
    {%- if is_native() or model.resource_type == 'unit_test' -%}
        true
    {%- else -%}
        {{ column }} >= range_start{{ " - interval '" ~ look_back ~ "'" if look_back }} and {{ column }} < range_end
    {%- endif -%}
{%- endmacro %}


{#- The facts of a relation that are in range and judged: those that data quality has set aside are left out, as judgement
    leaves them out. A join, since a continuous aggregate takes no subquery; `row_id` is what tells facts of one instrument
    and time apart. -#}
{% macro from_judged(facts, row_id) -%}
from {{ source('market', facts) }} as {{ facts }}
left join {{ source('surveillance', 'quarantined_facts') }} as asides
    on
        asides.relation = 'market.{{ facts }}'
        and {{ facts }}.time = asides.time
        and {{ facts }}.instrument_id = asides.instrument_id
        and asides.row_id = {{ row_id }}
        and asides.lifted_at is null
        and {{ in_range('asides.time') }}
where asides.relation is null and {{ in_range(facts ~ '.time') }}
{%- endmacro %}


{#- A quote with both sides: what has a spread. -#}
{% macro two_sided() -%}
    quotes.bid_price > 0 and quotes.ask_price > 0 and quotes.bid_size + quotes.ask_size > 0
{%- endmacro %}


{% macro spread_bps() -%}
    (quotes.ask_price - quotes.bid_price) / nullif((quotes.bid_price + quotes.ask_price) / 2, 0) * 1e4
{%- endmacro %}


{% macro milliseconds_of(interval_expression) -%}
    extract(epoch from {{ interval_expression }})::double precision * 1000
{%- endmacro %}


{#- Bars of `width` out of shorter ones. -#}
{% macro longer_bars(bars, width) -%}
select
    instrument_id,
    {{ bucket_of(width, 'bucket') }} as bucket,
    (array_agg(open order by bucket))[1] as open,
    max(high) as high,
    min(low) as low,
    (array_agg(close order by bucket))[count(*)::integer] as close,
    sum(volume order by bucket) as volume,
    sum(buy_volume order by bucket) as buy_volume,
    sum(notional order by bucket) as notional,
    sum(notional order by bucket) / nullif(sum(volume order by bucket), 0) as vwap,
    sum(trade_count)::bigint as trade_count
from {{ bars }}
where {{ in_range('bucket') }}
group by 1, 2
{%- endmacro %}


{#- An exponential mean over `span` periods that ends where `age` is 0: weights fall by 1 - 2 / (span + 1) a period. The
    rows come in their order. -#}
{% macro weighted_mean(value, age, span) -%}
    sum({{ value }} * power({{ span - 1 }} / {{ span + 1 }}.0::double precision, {{ age }}))
    / sum(power({{ span - 1 }} / {{ span + 1 }}.0::double precision, {{ age }}))
{%- endmacro %}


{#- An instrument in one word, for filters and axes: a symbol is unique within its venue only. -#}
{% macro instrument_of(instruments) -%}
    {{ instruments }}.symbol || ' · ' || {{ instruments }}.venue
{%- endmacro %}


{#- The same where it is short: a symbol that is on one venue alone goes without it. `of_symbol` is a window by symbol. -#}
{% macro shortest_name(symbol, venue, of_symbol) -%}
    {{ symbol }} || case
        when min({{ venue }}) over {{ of_symbol }} = max({{ venue }}) over {{ of_symbol }} then ''
        else ' · ' || {{ venue }}
    end
{%- endmacro %}


{#- Seconds from the receipt of a batch's newest row to its commit; null of one that was taken in from a recording. -#}
{% macro delay_of(batch) -%}
    case
        when not {{ batch }}.is_replay
            then extract(epoch from {{ batch }}.committed_at - {{ batch }}.max_received_at)::double precision
    end
{%- endmacro %}


{% macro second_of(time) -%}
    to_char({{ time }} at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')
{%- endmacro %}


{#- An alert in one line, for a filter: when, what, where, and the beginning of its id. -#}
{% macro alert_of(alerts) -%}
    {{ second_of(alerts ~ '.window_start') }} || ' ' || {{ alerts }}.detector
    || ' ' || {{ alerts }}.symbol || ' ' || left({{ alerts }}.alert_id::text, 8)
{%- endmacro %}


{#- 1 critical, 2 warning, 3 info: what is gravest sorts first. -#}
{% macro priority_of(severity) -%}
    array_position(array['critical', 'warning', 'info'], {{ severity }})
{%- endmacro %}


{#- A number for a human to read: seven digits of it, whether it is a price of 0.0193 or a depth of a million. -#}
{% macro shown(number) -%}
    trim_scale(round(
        ({{ number }})::numeric, greatest(6 - coalesce(floor(log(nullif(abs(({{ number }})::numeric), 0))), 0), 0)::integer
    ))::text
{%- endmacro %}
