-- Rules of a range, each a query over `batch`, the rows of [start, end): what it answers is the key of what is wrong.
-- The comment is the rule. Parameters are written %(name)s::type and are bound, or are the range in GX's own text.

-- name: trade_numbers_rise
-- A trade with a higher number is not more than a second earlier; where the venue numbers trades (a hash is no number).
select instrument_id, trade_id, time
from (
    select
        instrument_id,
        trade_id,
        time,
        max(time) over (
            partition by instrument_id order by trade_id rows between unbounded preceding and 1 preceding
        ) as latest_before
    from batch
    where
        trade_id < 1000000000000000
        and instrument_id not in (select equities.instrument_id from market.instruments as equities where kind = 'equity')
) as steps
where latest_before > time + interval '1 second';

-- name: trades_have_no_unexplained_gaps
-- Trade numbers that skip are inside a known feed gap of trades that is not said to be repaired.
select steps.instrument_id, steps.trade_id_before, steps.trade_id, steps.time_before, steps.time
from (
    select
        instrument_id,
        trade_id,
        time,
        lag(trade_id) over each_instrument as trade_id_before,
        lag(time) over each_instrument as time_before
    from batch
    where trade_id < 1000000000000000
    window each_instrument as (partition by instrument_id order by trade_id)
) as steps
inner join market.instruments as instruments on steps.instrument_id = instruments.instrument_id
where
    steps.trade_id > steps.trade_id_before + 1
    and instruments.kind <> 'equity'
    and not exists (
        select 1
        from market.feed_gaps as gaps
        where
            gaps.venue = instruments.venue
            and coalesce(gaps.relation, 'trades') = 'trades'
            and gaps.repaired_at is null
            and (gaps.instrument_id is null or gaps.instrument_id = steps.instrument_id)
            and gaps.ended_at >= steps.time_before
            and gaps.started_at <= steps.time
    );

-- name: windows_have_no_holes
-- Where an instrument has a window, every instrument watched then has, and none is missing for all between two.
select ids.instrument_id, starts.window_start
from (select distinct window_start from batch) as starts
cross join (select distinct instrument_id from batch) as ids
where
    not exists (
        select 1 from batch
        where batch.instrument_id = ids.instrument_id and batch.window_start = starts.window_start
    )
    -- One that is watched since the middle of the range has none before, one no longer watched none after.
    and exists (
        select 1
        from surveillance.windows as earlier
        where earlier.instrument_id = ids.instrument_id and earlier.window_start < starts.window_start
    )
    and exists (
        select 1
        from surveillance.windows as later
        where later.instrument_id = ids.instrument_id and later.window_start > starts.window_start
    )
union all
-- Windows further apart than the minute of silence have nothing between them by right.
select null as instrument_id, window_start
from (
    select window_start, lead(window_start) over (order by window_start) as following
    from (select distinct window_start from batch) as each_once
) as steps
where following > window_start + interval '5 seconds' and following <= window_start + interval '1 minute';

-- name: no_feed_is_stale
-- No instrument is silent for more than a minute while others are heard and no gap explains it.
with
heard as (
    select
        instrument_id,
        window_start,
        lag(window_start) over (partition by instrument_id order by window_start) as heard_before
    from batch
    where trade_count + quote_count + book_count > 0
),

silent as (
    select instrument_id, heard_before as silent_since, window_start as silent_until
    from heard
    where window_start - heard_before > interval '65 seconds'
    union all
    select latest.instrument_id, latest.window_start as silent_since, ends.window_start as silent_until
    from (
        select instrument_id, max(window_start) as window_start from heard group by instrument_id
    ) as latest
    cross join (select max(window_start) as window_start from heard) as ends
    where ends.window_start - latest.window_start > interval '1 minute'
)

select silent.instrument_id, silent.silent_since, silent.silent_until
from silent
where not exists (
    select 1
    from batch
    where
        batch.instrument_id = silent.instrument_id
        and batch.window_start > silent.silent_since
        and batch.window_start <= silent.silent_until
        and batch.book_completeness < 1
);

-- name: row_counts_are_usual
-- Of each whole hour that was judged: an instrument's trades, quotes and books are a fifth to five times the median of
-- the same hour (UTC) of the last seven days, where three of them are known. Of what is still watched.
with
hours as (
    select starts.hour
    from generate_series(
        date_bin('1 hour', %(start)s::timestamptz + interval '59 minutes 59.999999 seconds', 'epoch'),
        %(end)s::timestamptz - interval '1 hour',
        interval '1 hour'
    ) as starts (hour)
),

-- A day is 24 hours: the session's time zone may have others.
counted as (
    select
        windows.instrument_id,
        hours.hour,
        days.day,
        sum(windows.trade_count + windows.quote_count + windows.book_count)::bigint as events
    from hours
    cross join generate_series(0, 7) as days (day)
    inner join surveillance.windows as windows
        on
            windows.window_start >= hours.hour - days.day * interval '24 hours'
            and windows.window_start < hours.hour - days.day * interval '24 hours' + interval '1 hour'
    group by windows.instrument_id, hours.hour, days.day
),

usual as (
    select instrument_id, hour, percentile_cont(0.5) within group (order by events) as events
    from counted
    where day > 0
    group by instrument_id, hour
    having count(*) >= 3
)

select usual.instrument_id, usual.hour, coalesce(now.events, 0) as events, usual.events as usual_events
from usual
inner join market.instruments as instruments on usual.instrument_id = instruments.instrument_id
left join counted as now on usual.instrument_id = now.instrument_id and usual.hour = now.hour and now.day = 0
where
    instruments.is_active
    and usual.hour in (select heard.hour from counted as heard where heard.day = 0)
    and usual.events >= 100
    and (coalesce(now.events, 0) < usual.events / 5 or now.events > usual.events * 5);
