"""The hole between two lives of the daemon: one hole a venue, whichever end is known first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.resumption import Resumption

VENUES = ("a", "b", "c")


@given(
    st.dictionaries(st.sampled_from(VENUES), st.integers(0, 9)),
    st.dictionaries(st.sampled_from(VENUES), st.integers(0, 9)),
    st.integers(0, 3),
)
def test_the_order_in_which_the_ends_are_known_does_not_matter(
    last: dict[str, int], first: dict[str, int], known_after: int
) -> None:
    holes: list[tuple[str, int, int]] = []
    resumption = Resumption(lambda *hole: holes.append(hole))
    for number, (venue, received_at) in enumerate(first.items()):
        if number == known_after:
            resumption.remember(last)
        resumption.resume(venue, received_at)
    if known_after >= len(first):
        resumption.remember(last)

    assert {venue: ends for venue, *ends in holes} == {
        venue: [last[venue], first[venue]] for venue in first if venue in last and last[venue] < first[venue]
    }
    assert len({venue for venue, *_ in holes}) == len(holes)
