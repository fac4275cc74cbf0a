"""The bytes of binary COPY, read back by a decoder written from PostgreSQL's documentation alone."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.copy_rows import FACTS, Fact, Relation, Told, encode, times_of
from ingest_daemon.events import Book, BookFlow, Quote, ReferencePrice, Trade

TRADES, QUOTES, BOOKS, BOOK_FLOWS, REFERENCE_PRICES = FACTS
POSTGRES_EPOCH_US = 946_684_800_000_000

instants = st.integers(0, 4_102_444_800_000_000)
smallints = st.integers(-(2**15), 2**15 - 1)
bigints = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
levels = st.lists(floats, max_size=20).map(tuple)

trades = st.builds(
    Trade, smallints, bigints, instants, instants, floats, floats, smallints, st.integers(1, 2**31 - 1)
)
quotes = st.builds(Quote, smallints, bigints, st.none() | instants, instants, floats, floats, floats, floats)
books = st.builds(Book, smallints, bigints, st.none() | instants, instants, levels, levels, levels, levels)
integers = st.integers(-(2**31), 2**31 - 1)
book_flows = st.builds(
    BookFlow,
    smallints,
    instants,
    instants,
    smallints,
    smallints,
    st.booleans(),
    *[floats] * 4,
    *[integers] * 3,
    *[floats] * 3,
    st.none() | bigints,
    integers,
    floats,
)
reference_prices = st.builds(
    ReferencePrice,
    smallints,
    st.none() | instants,
    instants,
    st.none() | floats,
    st.none() | floats,
    st.none() | floats,
    st.none() | instants,
)


def decode(relation: Relation, data: bytes) -> list[tuple[Any, ...]]:
    assert data.startswith(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    position = 19
    rows = []
    while (fields := struct.unpack_from(">h", data, position)[0]) != -1:
        assert fields == len(relation.columns)
        position += 2
        row = []
        for column in relation.columns:
            (length,) = struct.unpack_from(">i", data, position)
            position += 4
            if length == -1:
                row.append(None)
                continue
            row.append(decode_value(column.type.wire, column.type, data[position : position + length]))
            position += length
        rows.append(tuple(row))
    assert position + 2 == len(data)
    return rows


def decode_value(wire: str, type_: Any, value: bytes) -> Any:
    if type_.is_array:
        return decode_array(value)
    code = {">i2": ">h", ">i4": ">i", ">i8": ">q", ">f8": ">d", "|b1": ">?"}[wire]
    (number,) = struct.unpack(code, value)
    return number + POSTGRES_EPOCH_US if type_.counted_from else number


def decode_array(value: bytes) -> tuple[float, ...]:
    dimensions, has_nulls, element_type = struct.unpack_from(">iii", value)
    assert (has_nulls, element_type) == (0, 701)
    if dimensions == 0:
        assert len(value) == 12
        return ()
    assert dimensions == 1
    length, lower_bound = struct.unpack_from(">ii", value, 12)
    assert lower_bound == 1
    assert len(value) == 20 + 12 * length
    items = [struct.unpack_from(">id", value, 20 + 12 * item) for item in range(length)]
    assert all(size == 8 for size, _ in items)
    return tuple(item for _, item in items)


def expected(relation: Relation, event: Fact) -> tuple[Any, ...]:
    return tuple(
        times_of([event])[0] if column.name == "time" else getattr(event, column.name)
        for column in relation.columns
    )


def in_any_order(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    return sorted(map(repr, rows))  # repr: nulls do not compare, and floats show every digit


@pytest.mark.parametrize(
    ("relation", "strategy"),
    [
        (TRADES, trades),
        (QUOTES, quotes),
        (BOOKS, books),
        (BOOK_FLOWS, book_flows),
        (REFERENCE_PRICES, reference_prices),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_every_row_comes_out_as_it_went_in(relation: Relation, strategy: st.SearchStrategy[Fact]) -> None:
    @given(st.lists(strategy, max_size=8))
    def check(events: list[Fact]) -> None:
        told = Told()
        rows = decode(relation, b"".join(encode(relation, events, told, rows_at_once=3)))
        assert in_any_order(rows) == in_any_order([expected(relation, event) for event in events])
        if events:
            assert sorted(told.times) == sorted(times_of(events))
            assert told.received_until == max(event.received_at for event in events)

    check()


def test_the_columns_are_the_fields_of_the_event_and_time() -> None:
    for relation, kind in zip(FACTS, (Trade, Quote, Book, BookFlow, ReferencePrice), strict=True):
        assert {column.name for column in relation.columns} == {"time", *kind.__struct_fields__}


def test_time_is_when_it_happened_or_else_when_it_was_seen() -> None:
    assert times_of([Quote(1, 1, 5, 9, 1.0, 1.0, 2.0, 1.0)]) == (5,)
    assert times_of([Quote(1, 1, at, 9, 1.0, 1.0, 2.0, 1.0) for at in (None, 7)]) == (9, 7)


def test_levels_may_be_whole_numbers() -> None:
    mixed = Book(1, 1, 1, 1, (3, 2.5), (2**40, -(2**63)), (4,), (0.0,))
    (row,) = decode(BOOKS, b"".join(encode(BOOKS, [mixed])))
    assert row == expected(BOOKS, mixed)


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OverflowError):
        list(encode(TRADES, [Trade(2**15, 1, 1, 1, 1.0, 1.0, 1)]))
