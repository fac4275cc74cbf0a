-- How old a replayed row is says nothing of how long it took: the ledger tells replays apart, and ops.latency leaves
-- their age out. That function is as before but for this.
alter table ops.ingest_batches add column is_replay boolean not null default false;
comment on column ops.ingest_batches.is_replay is
'Taken in from a recording: max_received_at is when it was recorded. Before this column, false of all.';

create or replace function ops.latency(since timestamptz, until timestamptz)
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
            and not is_replay
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
'(replays do not count, nor what was received over an hour before), row_to_window on to the commit of the window, '
'which was judged for the first time, window_to_alert on to that of the alert, row_to_alert both. No row of a stage '
'without samples.';
