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
    EpisodeKind.SPREAD_BLOW_OUT,
    EpisodeKind.SPOOFING,
    EpisodeKind.SPREAD_BLOW_OUT,
    EpisodeKind.PUMP_AND_DUMP,
    EpisodeKind.VOLATILITY_SPIKE,
    EpisodeKind.SPREAD_BLOW_OUT,
    EpisodeKind.DECOUPLING,
)
# Legs can only part that were together for long, so two of three rounds end otherwise.
_ROUNDS_BETWEEN_DECOUPLINGS = 3

Legs = tuple[InstrumentKey, ...]


def _spot(base: str) -> InstrumentKey:
    return InstrumentKey(SPOT_VENUE, f"{base}USDT")


def _perpetual(base: str) -> InstrumentKey:
    return InstrumentKey(PERPETUAL_VENUE, f"{base}USDT")


# The kinds that move prices take turns on groups of their own, and a round takes 200 s: so a move stands out
# from five minutes and more without one. The others disturb nothing.
_TARGETS: dict[EpisodeKind, tuple[Legs, ...]] = {
    EpisodeKind.VOLATILITY_SPIKE: ((_spot("ETH"), _perpetual("ETH")), (_spot("SOL"), _perpetual("SOL"))),
    EpisodeKind.DECOUPLING: (
        (_perpetual("BTC"), _spot("BTC")),
        (_spot("DRB"), _spot("DRA")),
        (_spot("KSB"), _spot("KSA")),
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
    _over_at: dict[str, int] = field(default_factory=dict)  # by group
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
            round_number, place = divmod(later, len(_ROUND))
            kind = _ROUND[place]
            if kind is EpisodeKind.DECOUPLING and round_number % _ROUNDS_BETWEEN_DECOUPLINGS:
                kind = EpisodeKind.SPOOFING
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
        """The next target of this kind on which nothing is played; else the one that is free soonest."""
        targets = _TARGETS[kind]
        turn = self._played.get(kind, 0)
        self._played[kind] = turn + 1
        in_turn = [targets[(turn + i) % len(targets)] for i in range(len(targets))]
        legs = min(in_turn, key=lambda legs: max(self._over_at.get(_GROUP[legs[0]], 0) - starts_at, 0))
        self._over_at[_GROUP[legs[0]]] = ends_at
        return legs


def demo_script(live_start: int, seed: int = 0) -> DemoScript:
    """The script of a demo that goes live at `live_start` (µs since 1970 UTC); nothing is played before.

    >>> [episode.kind.value for episode in demo_script(0).between(0, 90_000_000)][:3]
    ['volatility_spike', 'decoupling', 'spoofing']
    """
    return DemoScript(live_start=live_start, seed=seed)
