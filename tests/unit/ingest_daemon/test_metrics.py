"""Clock skew: the least of what was seen lately, by venue."""

from __future__ import annotations

from ingest_daemon.batcher import batch_of
from ingest_daemon.events import Event, Quote, Trade
from ingest_daemon.metrics import Skews


def trade(delay_us: int) -> Trade:
    return Trade(1, 1, 1_000_000, 1_000_000 + delay_us, 1.0, 1.0, 1)


def seen(skews: Skews) -> dict[str, float]:
    return {sample.labels["venue"]: sample.value for sample in skews.family().samples}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_is_the_least_delay_and_may_be_negative() -> None:
    skews = Skews()
    skews.observe(batch_of("here", [trade(30_000), trade(-1_300_000), trade(50_000)]))
    skews.observe(batch_of("there", [Quote(1, 1, 5, 25_005, 1.0, 1.0, 2.0, 1.0)]))

    assert seen(skews) == {"here": -1.3, "there": 0.025}


def test_what_the_venue_does_not_date_says_nothing() -> None:
    skews = Skews()
    skews.observe(batch_of("here", [Quote(1, 1, None, 25_005, 1.0, 1.0, 2.0, 1.0)]))

    assert seen(skews) == {}


def test_of_a_large_batch_a_few_are_looked_at() -> None:
    looked_at = 0

    class Watched:
        received_at = 2

        @property
        def occurred_at(self) -> int:
            nonlocal looked_at
            looked_at += 1
            return 1

    skews = Skews()
    events: list[Event] = [trade(1)]
    batch = batch_of("here", events)
    batch.trades[:] = [Watched()] * 10_000  # type: ignore[list-item]
    skews.observe(batch)

    assert 0 < looked_at <= 20


def test_it_is_forgotten_after_a_minute_or_two() -> None:
    clock = Clock()
    skews = Skews(clock)
    skews.observe(batch_of("here", [trade(1_000)]))
    clock.now = 61.0
    skews.observe(batch_of("here", [trade(9_000)]))
    assert seen(skews) == {"here": 0.001}
    clock.now = 122.0
    assert seen(skews) == {"here": 0.009}
    clock.now = 300.0
    assert seen(skews) == {}
