"""The trades that happened, whether anybody was told of them: what a venue tells again.

What lives here: keeping them, a bounded number, and finding them by number or time. What never does: how a
venue tells them (the dialects).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from sentinet_dagster.runtime.venue_dialects.facts import Fill, Instrument, fact_of
from sentinet_dagster.runtime.venue_sources import SourceFrame

__all__ = ["PastTrades", "RemembersTrades", "whole_number"]

_MOST: Final = 100_000  # of an instrument; twice as many for a moment


class PastTrades:
    """The last trades of every instrument, by ascending number. Frames are read when somebody asks."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, str], list[SourceFrame]] = {}

    def keep(self, frames: Iterable[SourceFrame]) -> None:
        """Of these, what are trades."""
        for frame in frames:
            if frame.stream.endswith("@trade"):
                kept = self._frames.setdefault((frame.market, frame.stream), [])
                kept.append(frame)
                if len(kept) >= 2 * _MOST:
                    del kept[:_MOST]

    def numbered_from(self, instrument: Instrument, number: int, limit: int) -> Sequence[Fill]:
        """From a number on, the oldest first."""
        frames = self._of(instrument)
        first = bisect_left(frames, number, key=lambda frame: _fill(frame).number)
        return [_fill(frame) for frame in islice(frames, first, first + limit)]

    def numbered_before(self, instrument: Instrument, number: int | None, limit: int) -> Sequence[Fill]:
        """Before a number, or of all, the newest first."""
        frames = self._of(instrument)
        end = len(frames)
        if number is not None:
            end = bisect_left(frames, number, key=lambda frame: _fill(frame).number)
        return [_fill(frame) for frame in reversed(frames[max(0, end - limit) : end])]

    def after(self, instrument: Instrument, at_us: float, limit: int) -> Sequence[Fill]:
        """After a time, the oldest first."""
        frames = self._of(instrument)
        first = bisect_left(frames, at_us, key=lambda frame: _fill(frame).at_us)
        return [_fill(frame) for frame in islice(frames, first, first + limit)]

    def _of(self, instrument: Instrument) -> list[SourceFrame]:
        return self._frames.get((instrument.market, f"{instrument.symbol.lower()}@trade"), [])


class RemembersTrades:
    """A dialect whose venue tells trades again."""

    past: PastTrades = PastTrades()
    """The server's; none before it has one."""


def whole_number(query: Mapping[str, str], name: str, otherwise: int) -> int:
    """A parameter; `otherwise` where there is none, or no number."""
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else otherwise


def _fill(frame: SourceFrame) -> Fill:
    fact = fact_of(frame)
    assert isinstance(fact, Fill), "a frame of `trade` is one"
    return fact
