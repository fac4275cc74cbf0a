"""What the store decides without a database: the spans that a batch touched, and what an error means."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.errors import StoreRejected, StoreUnavailable
from ingest_daemon.store import Store, spans

moments = st.integers(0, 200)


@pytest.mark.parametrize(
    ("starts", "ends", "expected"),
    [
        ([], None, []),
        ([7], None, [(7, 8)]),
        ([7, 7], None, [(7, 8)]),
        ([0, 5], None, [(0, 6)]),
        ([0, 6], None, [(0, 1), (6, 7)]),  # five apart is not less than five
        ([6, 0], None, [(0, 1), (6, 7)]),
        ([0, 3], [100, 4], [(0, 100)]),  # one inside the other
        ([0, 3, 90], [100, 4, 91], [(0, 100)]),
        ([4], [4], [(4, 5)]),  # a gap of no length
    ],
)
def test_neighbours_are_one_span(
    starts: list[int], ends: list[int] | None, expected: list[tuple[int, int]]
) -> None:
    assert spans(starts, ends, within=5) == expected


@given(st.lists(st.tuples(moments, st.integers(1, 30))), st.integers(1, 20))
def test_spans_cover_what_is_touched_and_are_apart(touched: list[tuple[int, int]], within: int) -> None:
    found = spans([start for start, _ in touched], [start + length for start, length in touched], within)

    assert all(any(start <= at and at + length <= end for start, end in found) for at, length in touched)
    assert all(later[0] - earlier[1] >= within for earlier, later in pairwise(found))
    assert {start for start, _ in found} <= {at for at, _ in touched}
    assert {end for _, end in found} <= {at + length for at, length in touched}


def test_a_server_that_is_not_there_is_unavailable(unused_tcp_port: int) -> None:
    with pytest.raises(StoreUnavailable, match="refused"):
        Store(f"postgresql://u:secret@127.0.0.1:{unused_tcp_port}/x").connect()


@pytest.mark.parametrize(
    "url", ["postgresql://u:se%ret@localhost/x", "postgresql://u:secret@localhost/x?colour=red"]
)
def test_an_address_that_is_none_is_rejected_without_its_password(url: str) -> None:
    with pytest.raises(StoreRejected) as caught:
        Store(url).connect()
    assert "ret" not in str(caught.value)
