{#- No row makes the expression false; one that makes it null is let pass. -#}
{% test holds(model, expression) %}
select *
from {{ model }}
where
    not ({{ expression }})
    {% if has_column(model, 'bucket') -%}
    and bucket > (select max(newest.bucket) - interval '7 days' from {{ model }} as newest)
    {%- endif %}
{% endtest %}
