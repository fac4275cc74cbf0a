"""Facts into their tables: by COPY, or where some are there already by way of a staging table. [IO]

What lives here: a relation's part of a transaction. What never does: the transaction itself, the ledger
(`store.py`, `ledger.py`), the bytes of a row (`copy_rows.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from operator import attrgetter
from typing import TypeVar

import psycopg
from psycopg import sql

from ingest_daemon.copy_rows import Fact, Relation, Told, encode, times_of
from ingest_daemon.ledger import Connection, Outcome, spans

__all__ = ["Upload", "copy", "merge", "without"]

_T = TypeVar("_T")
_received_at = attrgetter("received_at")


class Upload:
    """A batch's rows of one relation, on their way."""

    def __init__(self, relation: Relation, events: Sequence[Fact], received_until: int | None) -> None:
        self.relation = relation
        self.events = events
        self._received_until = received_until
        self._told = Told()
        self._parts = encode(relation, events, self._told)
        self._ready: list[bytes] = []

    def prepare(self) -> None:
        """Make the first part ahead: while the server is busy with another relation."""
        self._ready = list(islice(self._parts, 2))  # the header, and rows

    def parts(self) -> Iterator[bytes]:
        """All of them, once."""
        return chain(self._ready, self._parts)

    def sent(self, size: int) -> Outcome:
        """What becomes of it where all of `parts` was sent, so many bytes, and every row is new."""
        return self._outcome(size, (), spans(self._told.times), self._told.received_until)

    def merged(self, size: int, repeated: tuple[int, ...]) -> Outcome:
        """What became of it where these rows were there already."""
        new = without(self.events, repeated)
        touched = spans(times_of(new)) if new else []
        return self._outcome(size, repeated, touched, max(map(_received_at, self.events)))

    def _outcome(
        self, size: int, repeated: tuple[int, ...], touched: list[tuple[int, int]], last_received_at: int
    ) -> Outcome:
        seen = last_received_at if self._received_until is None else self._received_until
        return Outcome(self.relation.name, len(self.events), repeated, size, touched, seen)


def copy(connection: Connection, upload: Upload, meanwhile: Callable[[], None]) -> Outcome:
    """Straight in: there are no duplicates, or it fails."""
    with connection.cursor() as cursor:
        with cursor.copy(_copy_statement(("market", upload.relation.name), upload.relation)) as copy:
            size = _send(copy, upload.parts())
            # The server has yet to take in what it was sent last.
            outcome = upload.sent(size)
            meanwhile()
        return outcome


def merge(connection: Connection, upload: Upload, _meanwhile: Callable[[], None]) -> Outcome:
    """By way of a staging table: what is there already is counted.

    Of events with one key in the same batch the first is kept, as it would be in two batches.
    """
    relation, events = upload.relation, upload.events
    keys = _keys(relation, events)
    first: dict[tuple[int, ...], int] = {}
    for position, key in enumerate(keys):
        first.setdefault(key, position)
    temporary = ("pg_temp", f"staged_{relation.name}")
    staging = sql.Identifier(*temporary)
    target = sql.Identifier("market", relation.name)
    columns = _names(column.name for column in relation.columns)
    connection.execute(sql.SQL("create temporary table {} (like {}) on commit drop").format(staging, target))
    parts = encode(relation, [events[position] for position in first.values()])
    with connection.cursor() as cursor, cursor.copy(_copy_statement(temporary, relation)) as copy:
        size = _send(copy, parts)
    inserted = connection.execute(
        sql.SQL(
            "insert into {target} ({columns}) select {columns} from {staging}"
            " on conflict do nothing returning {key}"
        ).format(target=target, columns=columns, staging=staging, key=_key_in_microseconds(relation))
    ).fetchall()
    new = {first[key] for key in inserted}
    return upload.merged(size, tuple(position for position in range(len(events)) if position not in new))


def _send(copy: psycopg.Copy, parts: Iterable[bytes]) -> int:
    """The size of what was sent."""
    size = 0
    for part in parts:
        copy.write(part)
        size += len(part)
    return size


@lru_cache(maxsize=64)
def _copy_statement(table: tuple[str, str], relation: Relation) -> bytes:
    columns = _names(column.name for column in relation.columns)
    return (
        sql.SQL("copy {} ({}) from stdin (format binary)").format(sql.Identifier(*table), columns).as_bytes()
    )


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _keys(relation: Relation, events: Sequence[Fact]) -> list[tuple[int, ...]]:
    """The unique key of each event; its `time`, the last part, in microseconds since 1970 UTC."""
    *names, last = relation.key
    assert last == "time", "every fact is unique by its time, and by what comes before"
    parts = [list(map(attrgetter(name), events)) for name in names]
    return list(zip(*parts, times_of(events), strict=True))


def _key_in_microseconds(relation: Relation) -> sql.Composed:
    *names, last = relation.key
    microseconds = sql.SQL("(extract(epoch from {}) * 1000000)::bigint").format(sql.Identifier(last))
    return sql.SQL(", ").join([*map(sql.Identifier, names), microseconds])


def without(events: Sequence[_T], positions: Collection[int]) -> Sequence[_T]:
    """The events but for those at these positions."""
    if not positions:
        return events
    left_out = set(positions)
    return [event for position, event in enumerate(events) if position not in left_out]
