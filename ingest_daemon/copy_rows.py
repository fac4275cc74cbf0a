"""Facts as PostgreSQL's binary COPY wants them. What lives here: each relation's columns and their bytes.

What never does: connections, transactions, SQL. `store.py` sends what this makes.

A row on the wire is its number of fields, then for each field its length and its value, all big-endian. Rows
with the same nulls and the same array lengths have one layout: their events are packed one after the other,
and numpy moves them column by column into rows whose lengths are there already; that is what makes it cheap.
Rows of one layout stay together: order is not kept between layouts.
Source: PostgreSQL documentation, COPY, "Binary Format"; arrays as its `array_send` writes them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import starmap
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import astuple

from ingest_daemon.events import Book, BookFlow, Quote, ReferencePrice, Trade

__all__ = ["FACTS", "Fact", "Relation", "Told", "encode", "times_of"]

Fact = Trade | Quote | Book | BookFlow | ReferencePrice

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, flags, length of the extension
_TRAILER: Final = b"\xff\xff"
_FLOAT8_OID: Final = 701
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, where PostgreSQL counts from

# Rows of a part: while the server takes one part in, the next is made. About 100 kB, which memory is taken
# and given back for at no cost; rows with arrays are ten times as long.
_ROWS_AT_ONCE: Final = 1_024
_LONG_ROWS_AT_ONCE: Final = 96

# The extent of a value, as layouts are told apart by it; an array has its length, 0 and up.
_NULL: Final = -2
_SCALAR: Final = -1


class Type(NamedTuple):
    """A type of PostgreSQL: the numpy type of one value on the wire, and what its values are counted from."""

    wire: str
    counted_from: int = 0
    is_array: bool = False


class Column(NamedTuple):
    """A column; but for `time`, an event has a field of the same name."""

    name: str
    type: Type
    varies: bool = False  # may be null, or is an array: the layout of a row depends on its value


class Relation(NamedTuple):
    """A table of schema `market`."""

    name: str
    key: tuple[str, ...]  # its unique key
    columns: tuple[Column, ...]


BOOLEAN: Final = Type("|b1")
SMALLINT: Final = Type(">i2")
INTEGER: Final = Type(">i4")
BIGINT: Final = Type(">i8")
DOUBLE: Final = Type(">f8")
DOUBLES: Final = Type(">f8", is_array=True)
TIMESTAMPTZ: Final = Type(">i8", counted_from=_POSTGRES_EPOCH_US)

_PACKED: Final = {"|b1": "?", ">i2": "h", ">i4": "i", ">i8": "q", ">f8": "d"}
"""How `struct` packs what is on the wire; a boolean takes any value, as that of a field that is not read."""

_began_at, _occurred_at, _received_at = map(attrgetter, ("time", "occurred_at", "received_at"))

_INSTRUMENT = Column("instrument_id", SMALLINT)
_TIME = Column("time", TIMESTAMPTZ)
_RECEIVED_AT = Column("received_at", TIMESTAMPTZ)

FACTS: Final = (
    Relation(
        "trades",
        ("instrument_id", "trade_id", "time"),
        (
            _INSTRUMENT,
            Column("trade_id", BIGINT),
            _TIME,
            Column("occurred_at", TIMESTAMPTZ),
            _RECEIVED_AT,
            Column("price", DOUBLE),
            Column("size", DOUBLE),
            Column("aggressor", SMALLINT),
            Column("fills", INTEGER),
        ),
    ),
    Relation(
        "quotes",
        ("instrument_id", "update_id", "time"),
        (
            _INSTRUMENT,
            Column("update_id", BIGINT),
            _TIME,
            Column("occurred_at", TIMESTAMPTZ, varies=True),
            _RECEIVED_AT,
            Column("bid_price", DOUBLE),
            Column("bid_size", DOUBLE),
            Column("ask_price", DOUBLE),
            Column("ask_size", DOUBLE),
        ),
    ),
    Relation(
        "books",
        ("instrument_id", "update_id", "time"),
        (
            _INSTRUMENT,
            Column("update_id", BIGINT),
            _TIME,
            Column("occurred_at", TIMESTAMPTZ, varies=True),
            _RECEIVED_AT,
            Column("bid_prices", DOUBLES, varies=True),
            Column("bid_sizes", DOUBLES, varies=True),
            Column("ask_prices", DOUBLES, varies=True),
            Column("ask_sizes", DOUBLES, varies=True),
        ),
    ),
    Relation(
        "book_flows",
        ("instrument_id", "side", "distance_bps", "is_partial", "time"),
        (
            _INSTRUMENT,
            Column("side", SMALLINT),
            Column("distance_bps", SMALLINT),
            Column("is_partial", BOOLEAN),
            _TIME,
            _RECEIVED_AT,
            Column("added", DOUBLE),
            Column("removed", DOUBLE),
            Column("cancelled", DOUBLE),
            Column("traded", DOUBLE),
            Column("adds", INTEGER),
            Column("cancels", INTEGER),
            Column("levels", INTEGER),
            Column("largest_added", DOUBLE),
            Column("fleeting", DOUBLE),
            Column("withdrawn", DOUBLE),
            Column("withdrawn_life_us", BIGINT, varies=True),
            Column("layers", INTEGER),
            Column("layered", DOUBLE),
        ),
    ),
    Relation(
        "reference_prices",
        ("instrument_id", "time"),
        (
            _INSTRUMENT,
            _TIME,
            Column("occurred_at", TIMESTAMPTZ, varies=True),
            _RECEIVED_AT,
            Column("mark_price", DOUBLE, varies=True),
            Column("index_price", DOUBLE, varies=True),
            Column("funding_rate", DOUBLE, varies=True),
            Column("next_funding_at", TIMESTAMPTZ, varies=True),
        ),
    ),
)


def times_of(events: Sequence[Fact]) -> Sequence[int]:
    """The `time` of facts of one kind, microseconds since 1970: when it happened or began, else was seen."""
    if isinstance(events[0], BookFlow):
        return tuple(map(_began_at, events))
    each = zip(map(_occurred_at, events), map(_received_at, events), strict=True)
    return tuple([seen if at is None else at for at, seen in each])


class Told:
    """What `encode` saw of the rows, which the ledger wants to know. Microseconds since 1970."""

    __slots__ = ("_times", "received_until")

    def __init__(self) -> None:
        self._times: list[npt.NDArray[np.int64]] = []
        self.received_until = 0
        """The greatest `received_at`."""

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """The `time` of every row, in the order of the rows on the wire."""
        return np.concatenate(self._times)

    def take(self, times: npt.NDArray[np.int64], received_at: npt.NDArray[np.int64]) -> None:
        """Further rows."""
        self._times.append(times.copy())  # else all that was packed beside them would be kept
        self.received_until = max(self.received_until, int(received_at.max()))


def encode(
    relation: Relation, events: Sequence[Fact], told: Told | None = None, rows_at_once: int | None = None
) -> Iterator[bytes]:
    """All events as one binary COPY of `relation.columns`, in parts to be sent one after the other.

    Args:
        relation: the entry of `FACTS` that the events belong to.
        events: of the relation's kind. Parsers see to it that floats are finite.
        told: is told of the rows as they are made.
        rows_at_once: rows of a part; None: what is quick.

    Raises:
        OverflowError: a number does not fit its column; a parser let it through.
    """
    step = rows_at_once
    if step is None:
        has_arrays = any(column.type.is_array for column in relation.columns)
        step = _LONG_ROWS_AT_ONCE if has_arrays else _ROWS_AT_ONCE
    yield _HEADER
    for start in range(0, len(events), step):
        yield from _encode_part(relation, events[start : start + step], told or Told())
    yield _TRAILER


_Varying = dict[str, list[Any]]  # the values of the columns that decide on the layout


def _encode_part(relation: Relation, events: Sequence[Fact], told: Told) -> Iterator[bytes]:
    varying = [column for column in relation.columns if column.varies]
    values = {column.name: list(map(attrgetter(column.name), events)) for column in varying}
    extents = [_extent_of_all(column, values[column.name]) for column in varying]
    if None not in extents:
        layout = _layout_of(relation, type(events[0]), tuple(extents))
        yield _fill(layout, events, values, told)
        return
    rows_of: dict[tuple[int, ...], list[int]] = {}
    each = [_extents(column, values[column.name]) for column in varying]
    for row, found in enumerate(zip(*each, strict=True)):
        rows_of.setdefault(found, []).append(row)
    for found, rows in rows_of.items():
        chosen = {name: [column[row] for row in rows] for name, column in values.items()}
        layout = _layout_of(relation, type(events[0]), found)
        yield _fill(layout, [events[row] for row in rows], chosen, told)


def _extent_of_all(column: Column, values: list[Any]) -> int | None:
    """None: they differ."""
    if column.type.is_array:
        lengths = set(map(len, values))
        return lengths.pop() if len(lengths) == 1 else None
    nulls = values.count(None)
    return _SCALAR if not nulls else _NULL if nulls == len(values) else None


def _extents(column: Column, values: list[Any]) -> list[int]:
    if column.type.is_array:
        return list(map(len, values))
    return [_NULL if value is None else _SCALAR for value in values]


class _Layout(NamedTuple):
    """How rows with the same nulls and the same array lengths are made."""

    pack: Callable[..., bytes]  # the fields of an event to `packed`
    packed: np.dtype[np.void]
    blank: npt.NDArray[np.void]  # one row of the wire, with every count and length filled in
    scalars: tuple[tuple[str, str, int], ...]  # column, the field it is made of, what it is counted from
    arrays: tuple[tuple[str, int], ...]  # column, length
    time: str  # the field that `time` is


def _fill(layout: _Layout, events: Sequence[Fact], values: _Varying, told: Told) -> bytes:
    """The rows of one layout, without header and trailer."""
    try:
        packed = np.frombuffer(b"".join(starmap(layout.pack, map(astuple, events))), layout.packed)
    except struct.error as error:
        raise OverflowError(f"{type(events[0]).__name__}: {error}") from error
    rows = np.repeat(layout.blank, len(events))
    for name, field, counted_from in layout.scalars:
        rows[name] = packed[field] - counted_from if counted_from else packed[field]
    for name, length in layout.arrays:
        rows[name]["value"] = _doubles(values[name], length)
    told.take(packed[layout.time], packed["received_at"])
    return rows.tobytes()


def _doubles(arrays: list[tuple[float, ...]], length: int) -> npt.NDArray[np.float64]:
    """Arrays of one length; numpy takes twice as long to read floats out of tuples."""
    packed = b"".join(starmap(_packer(length), arrays))
    return np.frombuffer(packed, np.float64).reshape(len(arrays), length)


@lru_cache(maxsize=256)
def _packer(length: int) -> Callable[..., bytes]:
    return struct.Struct(f"={length}d").pack


@lru_cache(maxsize=4096)
def _layout_of(relation: Relation, kind: type[Fact], extents: tuple[int, ...]) -> _Layout:
    """The layout of a relation whose varying columns have these extents."""
    varying = iter(extents)
    extent_of = {column.name: next(varying) if column.varies else _SCALAR for column in relation.columns}
    type_of = {column.name: column.type for column in relation.columns}
    time = "time" if "time" in kind.__struct_fields__ else "received_at"
    if extent_of.get("occurred_at") == _SCALAR:
        time = "occurred_at"
    codes, dtype = "=", []
    for field in kind.__struct_fields__:
        wire = type_of[field].wire if extent_of[field] == _SCALAR else BOOLEAN.wire  # not read
        codes += _PACKED[wire]
        dtype.append((field, "=" + wire[1:]))
    return _Layout(
        struct.Struct(codes).pack,
        np.dtype(dtype),
        _blank_row(relation, extents),
        tuple(
            (name, time if name == "time" else name, type_of[name].counted_from)
            for name, extent in extent_of.items()
            if extent == _SCALAR
        ),
        tuple((name, extent) for name, extent in extent_of.items() if extent > 0),
        time,
    )


def _blank_row(relation: Relation, extents: tuple[int, ...]) -> npt.NDArray[np.void]:
    """One row of a layout with every count and length filled in; only the values are left to set."""
    layout: list[tuple[str, Any] | tuple[str, Any, int]] = [("fields", ">i2")]
    constants: list[tuple[str, int]] = [("fields", len(relation.columns))]
    items: list[tuple[str, int]] = []
    varying = iter(extents)
    for name, type_, varies in relation.columns:
        extent = next(varying) if varies else _SCALAR
        size = np.dtype(type_.wire).itemsize
        layout.append((f"{name} length", ">i4"))
        if extent == _NULL:
            constants.append((f"{name} length", -1))
        elif extent == _SCALAR:
            constants.append((f"{name} length", size))
            layout.append((name, type_.wire))
        else:
            head = [1, 0, _FLOAT8_OID, extent, 1] if extent else [0, 0, _FLOAT8_OID]
            constants.append((f"{name} length", 4 * len(head) + extent * (4 + size)))
            for position, word in enumerate(head):  # dimensions, has nulls, element type; length, lower bound
                layout.append((f"{name} head {position}", ">i4"))
                constants.append((f"{name} head {position}", word))
            if extent:
                layout.append((name, [("length", ">i4"), ("value", type_.wire)], extent))
                items.append((name, size))
    row = np.zeros(1, dtype=layout)
    for field, constant in constants:
        row[field] = constant
    for field, size in items:
        row[field]["length"] = size
    return row
