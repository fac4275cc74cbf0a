"""What the database knows of gaps that may be repaired. [IO]

What lives here: which gaps there are, which trades around one are known. What never does: fetching
(`repair.py`), writing (`store.py`). Times are microseconds since 1970 UTC.

Around a gap, as far as clocks may differ, nothing is taken for granted: the last trade before it and the
first after it are looked for beyond that distance, and what is known between them is known by its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from psycopg.types.multirange import Multirange

from ingest_daemon.events import FeedGap, GapCause
from ingest_daemon.ledger import Connection, moment
from ingest_daemon.venues import KnownTrade

__all__ = ["OpenGap", "Surroundings", "gaps_to_repair", "surroundings_of"]

_CLOCKS_DIFFER_US: Final = 5_000_000  # at most, ours and a venue's
_OLDEST_US: Final = 86_400_000_000
_LONGEST_US: Final = 6 * 3_600_000_000
_REACHES_US: Final = (60_000_000, 600_000_000, 7_200_000_000, 86_400_000_000)  # first near, then far

_SELECT_GAPS: Final = """
    select
        gap_id,
        channel,
        instrument_id,
        (extract(epoch from started_at) * 1000000)::bigint,
        (extract(epoch from ended_at) * 1000000)::bigint,
        cause
    from market.feed_gaps
    where
        venue = %(venue)s
        and relation = 'trades'
        and repaired_at is null
        and coalesce(channel, %(channel)s) = %(channel)s
        and ended_at >= %(since)s
        and ended_at <= %(until)s
        and ended_at - started_at <= %(longest)s::bigint * interval '1 microsecond'
    order by ended_at, gap_id
    limit 500
"""
_SELECT_BEFORE: Final = """
    select trade_id, (extract(epoch from time) * 1000000)::bigint
    from market.trades
    where instrument_id = %s and time >= %s and time < %s
    order by time desc, trade_id desc
    limit 1
"""
_SELECT_AFTER: Final = """
    select trade_id, (extract(epoch from time) * 1000000)::bigint
    from market.trades
    where instrument_id = %s and time >= %s and time < %s
    order by time, trade_id
    limit 1
"""
_SELECT_KNOWN: Final = """
    select range_agg(int8range(trade_id - case when %(sums)s then fills else 1 end, trade_id, '(]'))
    from market.trades
    where
        instrument_id = %(instrument_id)s
        and time >= %(start)s
        and (%(end)s::timestamptz is null or time <= %(end)s)
"""


class OpenGap(NamedTuple):
    """A gap of trades that is not repaired."""

    gap_id: int
    gap: FeedGap  # without its detail


class Surroundings(NamedTuple):
    """What is known of an instrument's trades around a gap."""

    before: KnownTrade  # surely older than the gap
    after: KnownTrade | None  # surely younger; None: there is none yet
    known: Sequence[tuple[int, int]]  # first and last number of each unbroken run from `before` to `after`


def gaps_to_repair(
    connection: Connection, venue: str, channel: str, now: int, *, at_once: bool
) -> Sequence[OpenGap]:
    """Gaps of the last day, of six hours at most, the oldest first: what is more is for a backfill.

    Args:
        connection: in a transaction.
        venue: whose.
        channel: the one that tells trades; gaps that name no channel are of it too.
        now: by our clock.
        at_once: also those that ended so lately that a venue's clock may say that they did not.
    """
    rows = connection.execute(
        _SELECT_GAPS,
        {
            "venue": venue,
            "channel": channel,
            "since": moment(now - _OLDEST_US),
            "until": moment(now if at_once else now - _CLOCKS_DIFFER_US),
            "longest": _LONGEST_US,
        },
    )
    return [
        OpenGap(
            gap_id,
            FeedGap(venue, named, instrument_id, started_at, ended_at, GapCause(cause), relation="trades"),
        )
        for gap_id, named, instrument_id, started_at, ended_at, cause in rows
    ]


def surroundings_of(
    connection: Connection, instrument_id: int, gap: FeedGap, now: int, *, sums_numbers: bool
) -> Surroundings | None:
    """What is known around a gap; None where no trade before it is: then nobody can say what is missing.

    Args:
        connection: in a transaction.
        instrument_id: one of the gap's.
        gap: the gap.
        now: by our clock.
        sums_numbers: see `venues.History`.
    """
    before = _nearest(connection, _SELECT_BEFORE, instrument_id, gap.started_at - _CLOCKS_DIFFER_US, -1)
    if before is None:
        return None
    latest = now + _CLOCKS_DIFFER_US
    after = _nearest(connection, _SELECT_AFTER, instrument_id, gap.ended_at + _CLOCKS_DIFFER_US, 1, latest)
    (known,) = connection.execute(
        _SELECT_KNOWN,
        {
            "instrument_id": instrument_id,
            "sums": sums_numbers,
            "start": moment(before.occurred_at),
            "end": None if after is None else moment(after.occurred_at),
        },
    ).fetchone() or (None,)
    return Surroundings(before, after, _runs(known))


def _nearest(
    connection: Connection, query: str, instrument_id: int, edge: int, sign: int, latest: int | None = None
) -> KnownTrade | None:
    for reach in _REACHES_US:
        start, end = sorted((edge, edge + sign * reach))
        row = connection.execute(query.encode(), [instrument_id, moment(start), moment(end)]).fetchone()
        if row is not None:
            return KnownTrade(*row)
        if latest is not None and end > latest:
            return None
    return None


def _runs(known: Multirange[int] | None) -> Sequence[tuple[int, int]]:
    runs = []
    for run in known or ():
        assert run.lower is not None, "numbers are finite"
        assert run.upper is not None, "numbers are finite"
        runs.append((run.lower, run.upper - 1))
    return runs
