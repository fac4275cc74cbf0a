"""A small seeded market as events, for tests that need facts: trades, quotes, books, gaps, refused frames."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

from ingest_daemon.batcher import Batch
from ingest_daemon.events import Book, Event, FeedGap, GapCause, Quote, ReferencePrice, RejectedFrame, Trade

SECOND = 1_000_000
VENUE = "binance"

E = TypeVar("E")


def events(instruments: Sequence[int], start: int, seconds: int, seed: int = 7) -> Iterator[Event]:
    """The market of [start, start + seconds), in order of time. Times in microseconds since 1970 UTC."""
    rng = random.Random(seed)
    price = {instrument: 100.0 * instrument for instrument in instruments}
    number = dict.fromkeys(instruments, 0)
    shock = start + 2 * seconds * SECOND // 3
    for step in range(seconds * 2):
        now = start + step * SECOND // 2
        common = rng.gauss(0, 2e-5)
        for instrument in instruments:
            drift = 4e-3 if shock <= now < shock + 10 * SECOND and instrument == instruments[0] else 0.0
            price[instrument] *= 1 + common + rng.gauss(0, 1e-5) + drift
            number[instrument] += 1
            yield from _moment(instrument, number[instrument], now + rng.randrange(SECOND // 2), price, rng)


def _moment(
    instrument: int, number: int, time: int, price: dict[int, float], rng: random.Random
) -> Iterator[Event]:
    mid, received = price[instrument], time + 30_000
    half = mid * rng.uniform(1e-5, 1e-4)
    bid, ask = mid - half, mid + half
    sizes = rng.uniform(0.1, 3), rng.uniform(0.1, 3)
    yield Quote(instrument, number, None, received, bid, sizes[0], ask, sizes[1])
    if rng.random() < 0.5:
        side = rng.choice((1, -1))
        yield Trade(instrument, number, time, received, ask if side > 0 else bid, rng.expovariate(1), side)
    if number % 4 == 0:
        levels = tuple(bid * (1 - k * 1e-4) for k in range(5)), tuple(ask * (1 + k * 1e-4) for k in range(5))
        yield Book(instrument, number, time, received, levels[0], (1.0,) * 5, levels[1], (2.0,) * 5)
    if number % 20 == 0:
        yield ReferencePrice(instrument, time, received, mark_price=mid)


def gap(start: int, end: int) -> FeedGap:
    return FeedGap(VENUE, None, None, start, end, GapCause.DISCONNECTED)


def refused(received_at: int) -> RejectedFrame:
    return RejectedFrame(VENUE, received_at, "not JSON", b"{")


def batch(events: Sequence[Event]) -> Batch:
    """One batch of them, whatever their kinds."""

    def only(kind: type[E]) -> list[E]:
        return [event for event in events if isinstance(event, kind)]

    return Batch(
        venue=VENUE,
        trades=only(Trade),
        quotes=only(Quote),
        books=only(Book),
        reference_prices=only(ReferencePrice),
        feed_gaps=only(FeedGap),
        rejected_frames=only(RejectedFrame),
        rows=len(events),
        bytes=len(events) * 100,
    )
