"""The batch ledger: which spans of which relation a transaction touched, how far a venue was received. [IO]

What lives here: the row of a transaction, written in it. What never does: facts (`store.py`), opening or
ending a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg

__all__ = ["MERGE_WITHIN_US", "NOTIFY_CHANNEL", "Connection", "Outcome", "insert_ledger", "moment", "spans"]

Connection = psycopg.Connection[tuple[Any, ...]]

MERGE_WITHIN_US: Final = 5_000_000
"""Spans of new rows less than this apart are one span of the ledger: the length of the base window."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

NOTIFY_CHANNEL: Final = "sentinet_batches"
"""Notified once for each transaction that wrote to the ledger, when it commits; without a payload."""

# The server makes one notification of those that are the same in a transaction.
_INSERT_LEDGER: Final = """
    insert into ops.ingest_batches (
        venue, is_replay, relation, rows, duplicates, bytes, touched, max_received_at
    )
    select %s, %s, relation, rows, duplicates, bytes, touched::tstzmultirange, max_received_at
    from unnest(%s::text[], %s::integer[], %s::integer[], %s::bigint[], %s::text[], %s::timestamptz[])
        as outcomes (relation, rows, duplicates, bytes, touched, max_received_at)
    returning pg_notify('sentinet_batches', '')
"""


class Outcome(NamedTuple):
    """What became of a batch's rows of one relation."""

    relation: str
    total: int
    repeated: tuple[int, ...]
    bytes: int
    touched: list[tuple[int, int]]  # spans of `time` of the rows that are new
    max_received_at: int


def insert_ledger(
    connection: Connection, venue: str, outcomes: Sequence[Outcome], *, is_replay: bool
) -> None:
    """The batch's rows in the ledger: the last statement before the commit."""
    rows = [
        (
            outcome.relation,
            outcome.total - len(outcome.repeated),
            len(outcome.repeated),
            outcome.bytes,
            _multirange(outcome.touched),
            moment(outcome.max_received_at),
        )
        for outcome in outcomes
    ]
    if rows:
        connection.execute(_INSERT_LEDGER, [venue, is_replay, *map(list, zip(*rows, strict=True))])


def _multirange(spans: Iterable[tuple[int, int]]) -> str:
    """As PostgreSQL reads it.

    >>> _multirange([(0, 1_500_000)])
    '{[1970-01-01T00:00:00+00:00,1970-01-01T00:00:01.500000+00:00)}'
    """
    ranges = [f"[{moment(start).isoformat()},{moment(end).isoformat()})" for start, end in spans]
    return "{" + ",".join(ranges) + "}"


def spans(
    starts: Iterable[int] | npt.NDArray[np.int64],
    ends: Iterable[int] | None = None,
    within: int = MERGE_WITHIN_US,
) -> list[tuple[int, int]]:
    """What is touched, as half-open spans in order; those less than `within` apart are one.

    Without `ends`, and where an end is not later than its start, the moment alone is touched: a microsecond.

    >>> spans([20, 0, 5], [30, 1, 5], within=5)
    [(0, 6), (20, 30)]
    """
    start = starts if isinstance(starts, np.ndarray) else np.fromiter(starts, np.int64)
    if not start.size:
        return []
    if ends is None and (most := int(start.max())) - (least := int(start.min())) <= within:
        return [(least, most + 1)]
    end = start + 1 if ends is None else np.maximum(np.fromiter(ends, np.int64), start + 1)
    order = np.argsort(start)
    start, end = start[order], np.maximum.accumulate(end[order])
    (breaks,) = np.nonzero(start[1:] - end[:-1] >= within)
    first, last = [0, *(breaks + 1)], [*breaks, start.size - 1]
    return list(zip(start[first].tolist(), end[last].tolist(), strict=True))


def moment(microseconds: int) -> datetime:
    """A time as the driver takes it."""
    return _EPOCH + timedelta(microseconds=microseconds)
