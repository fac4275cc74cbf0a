"""Which streams of a feed are silent for too long. Pure.

What lives here: what each stream's silence may be, learnt from its own past, and what follows when it lasts.
What never does: clocks, sockets, gap rows (`holes.py`).

A symbol that trades twice an hour may be silent for an hour, one that trades every second may not be for a
minute. So a stream is stale when it is silent for 8 times the longest silence of its last one to two hours,
and never before the venue's own patience is over twice. A stream that was heard too seldom to say, or whose
silences are so long that 8 of them are no news, is not watched, unless the operator says how long is too
long.

    stale       it is subscribed to anew, on the same socket
    still so    after the same time a new socket takes over; then after twice as long, …, at most hourly
    heard       the gap ends. A silence that ended when the stream was subscribed to anew teaches nothing

Of a long silence the parts are told as time goes by, so that a crash loses the last minute of it alone.

Seconds are of a clock that does not go back (`at`); moments are microseconds since 1970 UTC, for the gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from ingest_daemon.venues import Stream

__all__ = ["Finding", "Vigil"]

_TIMES_ITS_LONGEST: Final = 8.0
_LEAST_HEARD: Final = 30  # roll calls in which it spoke, before its past says anything
_MEMORY_S: Final = 3_600.0  # the longest silence is of the current and of the last such span
_LONGEST_WATCHED_S: Final = 3_600.0  # a stream that may be silent for longer is not watched
_PART_US: Final = 60_000_000
_LONGEST_PAUSE_S: Final = 3_600.0


class Finding(NamedTuple):
    """What is to be done about a stream: a step, or a span of silence to be told."""

    step: Literal["resubscribe", "reconnect", "tell"]
    stream: Stream
    started_at: int  # of the silence, or of the part of it
    ended_at: int


@dataclass
class _Watched:
    heard_at: float
    heard_us: int
    times_heard: int = 0
    longest_s: float = 0.0  # of the current span of memory
    longest_before_s: float = 0.0  # of the one before
    span: int = 0
    stale_at: float | None = None  # since when it is known to be
    told_until: int = 0
    next_step_at: float = 0.0
    pause_s: float = 0.0


class Vigil:
    """The streams of one feed. What it learnt outlives a socket.

    Args:
        patience_s: of the venue; no learnt limit is below twice this.
        limits: channel → seconds after which its streams are stale, whatever they did before; 0: never.
    """

    def __init__(self, patience_s: float, limits: Mapping[str, float]) -> None:
        self._least_s = 2 * patience_s
        self._limits = limits
        self._watched: dict[Stream, _Watched] = {}

    def begin(self, streams: Iterable[Stream], at: float, moment: int) -> None:
        """Data flows, for the first time or again: every silence begins now."""
        for watched in self._watched.values():
            watched.heard_at, watched.heard_us, watched.stale_at = at, moment, None
        for stream in streams:
            if self._limits.get(stream.channel):
                self._watched.setdefault(stream, _Watched(at, moment))

    def forgive(self, at: float, moment: int) -> None:
        """Nobody listened: no silence of this time counts."""
        for watched in self._watched.values():
            if watched.stale_at is None:
                watched.heard_at, watched.heard_us = at, moment

    def call(self, heard: Mapping[Stream, int], at: float, moment: int) -> Sequence[Finding]:
        """A roll call: who spoke since the last one, and when first. What is to be done."""
        findings: list[Finding] = []
        for stream, first_us in heard.items():
            watched = self._watched.get(stream)
            if watched is None:
                self._watched[stream] = _Watched(at, first_us, 1)
                continue
            if watched.stale_at is not None:
                findings.append(Finding("tell", stream, watched.told_until, first_us))
            self._learn(watched, at)
            watched.heard_at, watched.heard_us, watched.stale_at = at, first_us, None
        for stream, watched in self._watched.items():
            if watched.stale_at is None:
                limit_s = self._limit_s(stream, watched)
                if limit_s is not None and at - watched.heard_at > limit_s:
                    findings.extend(self._find_stale(stream, watched, limit_s, at, moment))
            else:
                findings.extend(self._follow_up(stream, watched, at, moment))
        return findings

    def end(self, moment: int) -> Sequence[Finding]:
        """The socket is lost, or the feed ends: what is still to be told."""
        findings = []
        for stream, watched in self._watched.items():
            if watched.stale_at is not None:
                findings.append(Finding("tell", stream, watched.told_until, max(moment, watched.told_until)))
                watched.stale_at = None
        return findings

    def _limit_s(self, stream: Stream, watched: _Watched) -> float | None:
        said = self._limits.get(stream.channel)
        if said is not None:
            return said or None
        if watched.times_heard < _LEAST_HEARD:
            return None
        learnt_s = _TIMES_ITS_LONGEST * max(watched.longest_s, watched.longest_before_s)
        return max(self._least_s, learnt_s) if learnt_s <= _LONGEST_WATCHED_S else None

    def _learn(self, watched: _Watched, at: float) -> None:
        watched.times_heard += 1
        span = int(at // _MEMORY_S)
        if span != watched.span:
            is_next = span == watched.span + 1
            watched.longest_before_s = watched.longest_s if is_next else 0.0
            watched.longest_s, watched.span = 0.0, span
        revived = watched.stale_at is not None and at - watched.stale_at < self._least_s
        if not revived:
            watched.longest_s = max(watched.longest_s, at - watched.heard_at)

    def _find_stale(
        self, stream: Stream, watched: _Watched, limit_s: float, at: float, moment: int
    ) -> Iterable[Finding]:
        watched.stale_at = at
        watched.pause_s = limit_s
        watched.next_step_at = at + limit_s
        yield Finding("resubscribe", stream, watched.heard_us, moment)
        yield self._part(stream, watched, watched.heard_us, moment)

    def _follow_up(self, stream: Stream, watched: _Watched, at: float, moment: int) -> Iterable[Finding]:
        if at >= watched.next_step_at:
            watched.pause_s = min(2 * watched.pause_s, max(watched.pause_s, _LONGEST_PAUSE_S))
            watched.next_step_at = at + watched.pause_s
            yield Finding("reconnect", stream, watched.heard_us, moment)
        if moment - watched.told_until >= _PART_US:
            yield self._part(stream, watched, watched.told_until, moment)

    @staticmethod
    def _part(stream: Stream, watched: _Watched, started_at: int, moment: int) -> Finding:
        watched.told_until = max(moment, started_at)  # our clock may have been set back
        return Finding("tell", stream, started_at, watched.told_until)
