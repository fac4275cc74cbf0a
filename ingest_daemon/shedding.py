"""What is given up when the spool is full, and in which order. Pure.

What lives here: the policy, one batch at a time, and the gap rows that say what was shed. What never does:
files, deciding that the spool is full.

    level 1     of the books of an instrument, the last of each second is kept
    level 2     of its quotes too
    level 3     no books, no quotes
    level 4     no flows of books either: a few rows a second, and then all that is known of the books
    `drop`      nothing: trades go last, and with them what is left

What is shed of a batch and relation is one gap of cause `shed` with the count; refused frames that are shed
may have been of any relation. It is added up where a batch is shed further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar, get_args

import msgspec

from ingest_daemon.batcher import Batch, batch_of
from ingest_daemon.events import Book, BookFlow, Event, FactRelation, FeedGap, GapCause, Quote, RejectedFrame
from ingest_daemon.lateness import lateness_us

__all__ = ["LEVELS", "add_gap", "drop", "gaps_batch", "shed", "stands_for"]

LEVELS: Final = 4
_SECOND_US: Final = 1_000_000
_FACTS: Final[Mapping[str, FactRelation]] = {name: name for name in get_args(FactRelation)}
_RELATIONS: Final = (*_FACTS, "rejected_frames")

_Seen = TypeVar("_Seen", Book, Quote)


def shed(batch: Batch, level: int) -> Batch:
    """The batch at a level, 0 to `LEVELS`, with the gaps that say what it lacks."""
    books: Sequence[Book] = batch.books
    quotes: Sequence[Quote] = batch.quotes
    flows: Sequence[BookFlow] = () if level >= 4 else batch.book_flows
    if level >= 3:
        books, quotes = (), ()
    else:
        books = _last_of_each_second(books) if level >= 1 else books
        quotes = _last_of_each_second(quotes) if level >= 2 else quotes
    gaps: Mapping[Any, FeedGap] = {_key(gap): gap for gap in batch.feed_gaps}
    gaps = _with_lost(gaps, batch.venue, "books", batch.books, books)
    gaps = _with_lost(gaps, batch.venue, "quotes", batch.quotes, quotes)
    gaps = _with_lost(gaps, batch.venue, "book_flows", batch.book_flows, flows)
    kept: Sequence[Event] = (
        *batch.trades, *quotes, *books, *flows, *batch.reference_prices, *batch.rejected_frames,
    )  # fmt: skip
    if len(kept) + len(batch.feed_gaps) == batch.rows:
        return batch
    return batch_of(batch.venue, (*kept, *gaps.values()))


def drop(batch: Batch) -> Sequence[FeedGap]:
    """The gaps that are left of a batch that is given up."""
    gaps: Mapping[Any, FeedGap] = {_key(gap): gap for gap in batch.feed_gaps}
    for relation in _RELATIONS:
        gaps = _with_lost(gaps, batch.venue, relation, getattr(batch, relation), ())
    return tuple(gaps.values())


def add_gap(gaps: Sequence[FeedGap], gap: FeedGap) -> Sequence[FeedGap]:
    """`gaps` with one more: what was shed of the same relation is one gap, from the first to the last."""
    known = {_key(each): each for each in gaps}
    return tuple(_with(known, gap).values())


def _shed_gap(venue: str, relation: str, started_at: int, ended_at: int, count: int) -> FeedGap:
    """What says that so many events of a relation were shed."""
    fact = _FACTS.get(relation)
    detail = "the spool was full" if fact else f"the spool was full: {relation}"
    return FeedGap(venue, None, None, started_at, ended_at, GapCause.SHED, detail, count, fact)


def gaps_batch(venue: str, gaps: Sequence[FeedGap]) -> Batch:
    """A batch of nothing but gaps, at least one."""
    return batch_of(venue, gaps)


def _last_of_each_second(events: Sequence[_Seen]) -> Sequence[_Seen]:
    last = {(event.instrument_id, event.received_at // _SECOND_US): event for event in events}
    return tuple(last.values())


def _with_lost(
    gaps: Mapping[Any, FeedGap],
    venue: str,
    relation: str,
    events: Sequence[Book | Quote | BookFlow | RejectedFrame],
    kept: Sequence[Event],
) -> Mapping[Any, FeedGap]:
    if len(events) == len(kept):
        return gaps
    # By our times and by the venue's: both ask what is missing.
    started_at = min(event.received_at for event in events) - lateness_us(events)
    ended_at = max(_last_received_at(event) for event in events) + 1
    count = sum(map(stands_for, events)) - sum(map(stands_for, kept))
    return _with(gaps, _shed_gap(venue, relation, started_at, ended_at, count))


def stands_for(event: Event) -> int:
    """How many were lost with it: a row of refused frames may count many."""
    return event.frames if isinstance(event, RejectedFrame) else 1


def _last_received_at(event: Book | Quote | BookFlow | RejectedFrame) -> int:
    last = event.last_received_at if isinstance(event, RejectedFrame) else None
    return event.received_at if last is None else last


def _with(gaps: Mapping[Any, FeedGap], gap: FeedGap) -> dict[Any, FeedGap]:
    known = gaps.get(_key(gap))
    if known is not None and gap.cause is GapCause.SHED:
        gap = msgspec.structs.replace(
            gap,
            started_at=min(known.started_at, gap.started_at),
            ended_at=max(known.ended_at, gap.ended_at),
            lost_events=(known.lost_events or 0) + (gap.lost_events or 0),
        )
    return {**gaps, _key(gap): gap}


def _key(gap: FeedGap) -> tuple[object, ...]:
    """What is one gap: of a relation that was shed there is one, of others each has its own span."""
    span = () if gap.cause is GapCause.SHED else (gap.started_at, gap.ended_at, gap.instrument_id)
    return gap.cause, gap.channel, gap.relation, *span
