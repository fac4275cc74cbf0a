"""The script of the demo: five kinds of episode in the first 90 s, then one every 25 s for ever.

What lives here: what is played when and on what. What never does: what an episode does (`episodes.py`),
clocks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ingest_daemon.venues.simulated.episodes import SECOND_US, Episode, EpisodeKind
from ingest_daemon.venues.simulated.instruments import (
    DEFAULT_INSTRUMENTS,
    PERPETUAL_VENUE,
    SPOT_VENUE,
    InstrumentKey,
)

_EVERY_US = 25 * SECOND_US
_JITTER_US = 4 * SECOND_US
_LENGTH_US = {
    EpisodeKind.VOLATILITY_SPIKE: 10 * SECOND_US,
    EpisodeKind.DECOUPLING: 65 * SECOND_US,
    EpisodeKind.SPOOFING: 20 * SECOND_US,
    EpisodeKind.SPREAD_BLOW_OUT: 20 * SECOND_US,
    EpisodeKind.PUMP_AND_DUMP: 60 * SECOND_US,
}
_SIZE = {
    EpisodeKind.VOLATILITY_SPIKE: (0.0052, 0.0060),
    EpisodeKind.DECOUPLING: (2.4, 2.8),
    EpisodeKind.SPOOFING: (11.5, 13.0),
    EpisodeKind.SPREAD_BLOW_OUT: (8.0, 10.0),
    EpisodeKind.PUMP_AND_DUMP: (0.043, 0.057),
}
_OPENING = (
    (12, EpisodeKind.VOLATILITY_SPIKE),
    (25, EpisodeKind.DECOUPLING),
    (40, EpisodeKind.SPOOFING),
    (60, EpisodeKind.SPREAD_BLOW_OUT),
    (75, EpisodeKind.PUMP_AND_DUMP),
)
_ROUND = (
    EpisodeKind.SPOOFING,
    EpisodeKind.VOLATILITY_SPIKE,
    EpisodeKind.SPREAD_BLOW_OUT,
    EpisodeKind.PUMP_AND_DUMP,
    EpisodeKind.SPOOFING,
    EpisodeKind.VOLATILITY_SPIKE,
    EpisodeKind.SPREAD_BLOW_OUT,
    EpisodeKind.DECOUPLING,
)
# How long a group of instruments is left alone between two episodes: always until the first is over, and
# longer where the first would hide the second. A move stands out from five calm minutes; legs can only part
# after being together.
_PAUSE_US = 10 * SECOND_US
_REST_US = {
    (EpisodeKind.VOLATILITY_SPIKE, EpisodeKind.VOLATILITY_SPIKE): 360 * SECOND_US,
    (EpisodeKind.VOLATILITY_SPIKE, EpisodeKind.DECOUPLING): 240 * SECOND_US,
    (EpisodeKind.DECOUPLING, EpisodeKind.VOLATILITY_SPIKE): 90 * SECOND_US,
    (EpisodeKind.DECOUPLING, EpisodeKind.DECOUPLING): 900 * SECOND_US,
    (EpisodeKind.PUMP_AND_DUMP, EpisodeKind.PUMP_AND_DUMP): 300 * SECOND_US,
}

Legs = tuple[InstrumentKey, ...]


def _spot(base: str) -> InstrumentKey:
    return InstrumentKey(SPOT_VENUE, f"{base}USDT")


def _perpetual(base: str) -> InstrumentKey:
    return InstrumentKey(PERPETUAL_VENUE, f"{base}USDT")


_TARGETS: dict[EpisodeKind, tuple[Legs, ...]] = {
    EpisodeKind.VOLATILITY_SPIKE: (
        *((_spot(base), _perpetual(base)) for base in ("ETH", "SOL")),
        (_spot("KSA"), _spot("KSB")),
        (_spot("BTC"), _perpetual("BTC")),
        (_spot("DRA"), _spot("DRB")),
    ),
    EpisodeKind.DECOUPLING: (
        (_perpetual("BTC"), _spot("BTC")),
        (_spot("DRB"), _spot("DRA")),
        (_spot("KSB"), _spot("KSA")),
        (_perpetual("SOL"), _spot("SOL")),
    ),
    EpisodeKind.PUMP_AND_DUMP: ((_spot("LNB"),), (_spot("LNA"),)),
    EpisodeKind.SPOOFING: ((_spot("SOL"),), (_spot("KSA"),), (_perpetual("ETH"),), (_spot("DRA"),)),
    EpisodeKind.SPREAD_BLOW_OUT: ((_spot("KSB"),), (_spot("DRB"),), (_perpetual("SOL"),), (_spot("BTC"),)),
}
_GROUP = {instrument.key: instrument.group for instrument in DEFAULT_INSTRUMENTS}


@dataclass(slots=True)
class DemoScript:
    """The demo's script on the default instruments: written as far as it was asked for.

    No two episodes overlap on one group of instruments. One seed is one script.
    """

    live_start: int
    seed: int
    _episodes: list[Episode] = field(default_factory=list)
    _ended: dict[tuple[str, EpisodeKind], int] = field(default_factory=dict)  # the last of a kind on a group
    _played: dict[EpisodeKind, int] = field(default_factory=dict)

    def between(self, from_us: int, to_us: int) -> Sequence[Episode]:
        """See `Script`."""
        while not self._episodes or self._episodes[-1].starts_at < to_us:
            self._write_next()
        last = bisect_left(self._episodes, to_us, key=lambda episode: episode.starts_at)
        return [episode for episode in self._episodes[:last] if episode.ends_at > from_us]

    def _write_next(self) -> None:
        number = len(self._episodes)
        random = np.random.default_rng((self.seed, number))
        if number < len(_OPENING):
            seconds, kind = _OPENING[number]
            starts_at = self.live_start + seconds * SECOND_US
        else:
            later = number - len(_OPENING)
            kind = _ROUND[later % len(_ROUND)]
            opening_end = self.live_start + (_OPENING[-1][0] * SECOND_US)
            starts_at = opening_end + (later + 1) * _EVERY_US + int(random.integers(0, _JITTER_US))
        ends_at = starts_at + _LENGTH_US[kind]
        instruments = self._choose(kind, starts_at, ends_at)
        low, high = _SIZE[kind]
        self._episodes.append(
            Episode(
                kind=kind,
                instruments=instruments,
                starts_at=starts_at,
                ends_at=ends_at,
                size=round(float(random.uniform(low, high)), 5),
                direction=1 if kind is EpisodeKind.PUMP_AND_DUMP or random.integers(0, 2) else -1,
            )
        )

    def _choose(self, kind: EpisodeKind, starts_at: int, ends_at: int) -> Legs:
        """The next target of this kind on which nothing is played; of these the one that has rested best."""
        targets = _TARGETS[kind]
        turn = self._played.get(kind, 0)
        self._played[kind] = turn + 1
        in_turn = [targets[(turn + i) % len(targets)] for i in range(len(targets))]

        def unrest(legs: Legs) -> tuple[int, int]:
            """How far short of over, and of rest, the group is."""
            group = _GROUP[legs[0]]
            over = rested = starts_at
            for before in EpisodeKind:
                ended = self._ended.get((group, before), 0)
                over = max(over, ended + _PAUSE_US)
                rested = max(rested, ended + _REST_US.get((before, kind), 0))
            return over - starts_at, rested - starts_at

        legs = min(in_turn, key=unrest)
        self._ended[_GROUP[legs[0]], kind] = ends_at
        return legs


def demo_script(live_start: int, seed: int = 0) -> DemoScript:
    """The script of a demo that goes live at `live_start` (µs since 1970 UTC); nothing is played before.

    >>> [episode.kind.value for episode in demo_script(0).between(0, 90_000_000)][:3]
    ['volatility_spike', 'decoupling', 'spoofing']
    """
    return DemoScript(live_start=live_start, seed=seed)
