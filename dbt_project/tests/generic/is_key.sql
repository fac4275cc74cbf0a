{#- No two rows share these columns, and none of them is null. Of what has buckets, the last seven days: the rest was
    tested when it was those. -#}
{% test is_key(model, columns) %}
select
    {{ columns | join(', ') }},
    count(*) as found
from {{ model }}
{% if 'bucket' in columns -%}
where bucket > (select max(newest.bucket) - interval '7 days' from {{ model }} as newest)
{%- endif %}
group by {{ columns | join(', ') }}
having count(*) > 1{% for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}
