{#- What was judged and what is summed is the same market: in each minute of the last full hour that was judged as a whole
    (twelve windows), bars and windows have the same trades and volume. The last ten minutes are left to late data. -#}
{% test agrees_with_windows(model, windows) %}
with
span as (
    select
        max(bucket) - interval '70 minutes' as range_start,
        max(bucket) - interval '10 minutes' as range_end
    from {{ model }}
),

judged as (
    select
        windows.instrument_id,
        date_bin('1 minute', windows.window_start, '1970-01-01 00:00:00+00') as bucket,
        sum(windows.trade_count) as trade_count,
        sum(windows.volume) as volume
    from {{ windows }} as windows
    inner join span on windows.window_start >= span.range_start and windows.window_start < span.range_end
    group by 1, 2
    having count(*) = 12
)

select
    judged.instrument_id,
    judged.bucket,
    judged.trade_count as trades_judged,
    bars.trade_count as trades_summed,
    judged.volume as volume_judged,
    bars.volume as volume_summed
from judged
left join {{ model }} as bars on judged.instrument_id = bars.instrument_id and judged.bucket = bars.bucket
where
    judged.trade_count <> coalesce(bars.trade_count, 0)
    or abs(judged.volume - coalesce(bars.volume, 0)) > 1e-9 * judged.volume
{% endtest %}
