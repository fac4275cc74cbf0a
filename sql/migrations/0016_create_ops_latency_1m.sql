-- How long live judging takes, by stage: ops.latency says it for any span, ops.latency_1m keeps it for each minute.

-- A delay counts where it ends: at the commit of a batch, of a window, of an alert in [since, until).
create function ops.latency(since timestamptz, until timestamptz)
returns table (
    stage text, samples integer, p50_s double precision, p95_s double precision, max_s double precision
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with
    batches as (
        select extract(epoch from committed_at - max_received_at) as seconds
        from ops.ingest_batches
        where
            committed_at >= since
            and committed_at < until
            and relation in ('trades', 'quotes', 'books', 'book_flows', 'reference_prices')
            and max_received_at > committed_at - interval '1 hour'
    ),

    recent as (
        select window_start, max(computed_at) as computed_at
        from surveillance.windows
        where window_start >= since - interval '15 minutes' and window_start < until
        group by window_start
    ),

    -- Judged for the first time: what is judged again, after late data, is so after windows that follow it.
    judged as (
        select
            window_start,
            computed_at,
            min(computed_at) over (
                order by window_start rows between 1 following and unbounded following
            ) as next_computed_at
        from recent
    ),

    windows as (
        select extract(epoch from judged.computed_at - rows.committed_at) as seconds
        from judged
        cross join lateral (
            select max(facts.committed_at) as committed_at
            from ops.ingest_batches as facts
            where
                facts.touched && tstzrange(judged.window_start, judged.window_start + interval '5 seconds')
                and facts.committed_at <= judged.computed_at
                and facts.relation in ('trades', 'quotes', 'books', 'book_flows')
        ) as rows
        where
            judged.computed_at >= since
            and judged.computed_at < until
            and judged.computed_at <= coalesce(judged.next_computed_at, judged.computed_at)
    ),

    raised as (
        select
            alerts.alert_id,
            alerts.created_at,
            judged.computed_at,
            (
                select max(facts.committed_at)
                from ops.ingest_batches as facts
                where
                    facts.venue = instruments.venue
                    and facts.touched && tstzrange(alerts.window_start, alerts.window_end)
                    and facts.committed_at <= judged.computed_at
            ) as committed_at
        from surveillance.alerts as alerts
        inner join market.instruments as instruments on alerts.instrument_id = instruments.instrument_id
        inner join surveillance.windows as judged
            on alerts.instrument_id = judged.instrument_id and alerts.window_start = judged.window_start
        where
            alerts.window_start >= since - interval '15 minutes'
            and alerts.created_at >= since
            and alerts.created_at < until
            and judged.computed_at <= alerts.created_at
    ),

    delays as (
        select 'tick_to_row' as stage, seconds from batches
        union all
        select 'row_to_window', seconds from windows
        union all
        select 'window_to_alert', extract(epoch from created_at - computed_at) from raised
        union all
        select 'row_to_alert', extract(epoch from created_at - committed_at) from raised
    )

    select
        stage,
        count(seconds)::integer,
        percentile_disc(0.5) within group (order by seconds)::double precision,
        percentile_disc(0.95) within group (order by seconds)::double precision,
        max(seconds)::double precision
    from delays
    where seconds is not null
    group by stage
$$;
comment on function ops.latency is
'Delays that ended in [since, until), in seconds: tick_to_row from the receipt of a batch''s newest row to its commit '
'(replays, received over an hour before, do not count), row_to_window on to the commit of the window, which was judged '
'for the first time, window_to_alert on to that of the alert, row_to_alert both. No row of a stage without samples.';

create table ops.latency_1m (
    minute timestamptz not null,
    stage text not null check (stage in ('tick_to_row', 'row_to_window', 'window_to_alert', 'row_to_alert')),
    samples integer not null,
    p50_s double precision not null,
    p95_s double precision not null,
    max_s double precision not null,
    primary key (minute, stage)
);
comment on table ops.latency_1m is
'ops.latency of each minute in which live data was judged. The first run after it writes it.';
