{#- No row makes the expression false; one that makes it null is let pass. Of what has buckets, the last seven days. -#}
{% test holds(model, expression) %}
{%- set columns = adapter.get_columns_in_relation(model) | map(attribute='name') if execute else [] %}
select *
from {{ model }}
where
    not ({{ expression }})
    {% if 'bucket' in columns -%}
    and bucket > (select max(newest.bucket) - interval '7 days' from {{ model }} as newest)
    {%- endif %}
{% endtest %}
