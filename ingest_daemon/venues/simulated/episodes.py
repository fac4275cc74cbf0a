"""Scripted abuse and stress with ground truth: what, on which instruments, when, and to what effect.

What lives here: episodes, scripts of them, and their effect as factors per instrument and step. What never
does: random market movement (`paths.py`), clocks, and which detector should find what (the demo and the
scorecard map that). Times are microseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import cos, exp, log, pi
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingest_daemon.venues.simulated.instruments import InstrumentKey

SECOND_US = 1_000_000
# How long an episode may show after its end: prices ease back to where they would have been.
AFTERMATH_US = 240 * SECOND_US

FloatArray = NDArray[np.float64]


class EpisodeKind(StrEnum):
    """What a script can play."""

    VOLATILITY_SPIKE = "volatility_spike"
    SPOOFING = "spoofing"
    SPREAD_BLOW_OUT = "spread_blow_out"
    DECOUPLING = "decoupling"
    PUMP_AND_DUMP = "pump_and_dump"


@dataclass(frozen=True, slots=True)
class Episode:
    """One scripted event: the ground truth.

    `instruments` are those it shows on. Of a decoupling the first leaves its usual mates and the others are
    these mates. `size` is, by kind: the whole move of the price as a fraction (volatility_spike,
    pump_and_dump), the factor on the sizes of one side (spoofing), the factor on the spread
    (spread_blow_out), the leg's volatility against the others and opposite to them (decoupling). `direction`
    is +1 for up or the bid side, -1 for down or the ask side.
    """

    kind: EpisodeKind
    instruments: tuple[InstrumentKey, ...]
    starts_at: int
    ends_at: int
    size: float
    direction: int = 1

    def __post_init__(self) -> None:
        if self.ends_at <= self.starts_at or not self.instruments:
            raise ValueError(f"an episode needs instruments and an end after its start: {self!r}")


class Script(Protocol):
    """The episodes of a market."""

    def between(self, from_us: int, to_us: int) -> Sequence[Episode]:
        """Those with starts_at < to_us and ends_at > from_us, by start; always the same for a span."""


@dataclass(frozen=True, slots=True)
class FixedScript:
    """A script that is written out."""

    episodes: tuple[Episode, ...] = ()

    def between(self, from_us: int, to_us: int) -> Sequence[Episode]:
        """See `Script`."""
        return sorted(
            (e for e in self.episodes if e.starts_at < to_us and e.ends_at > from_us),
            key=lambda e: e.starts_at,
        )


class Effects:
    """What all episodes together do: arrays of (steps, instruments), neutral where nothing is played."""

    def __init__(self, steps: int, instruments: int) -> None:
        shape = (steps, instruments)
        self.shift: FloatArray = np.zeros(shape)  # added to the log of the mid price
        self.gain: FloatArray = np.ones(shape)  # on the return
        self.holds: NDArray[np.bool_] = np.zeros(
            shape, dtype=bool
        )  # the distance that a gain made does not ease back
        self.spread: FloatArray = np.ones(shape)  # on the spread
        self.bid_depth: FloatArray = np.ones(shape)  # on every size of the bid side
        self.ask_depth: FloatArray = np.ones(shape)
        self.activity: FloatArray = np.ones(shape)  # on the rate of trades
        self.trade_size: FloatArray = np.ones(shape)
        self.buy_share: FloatArray = np.full(shape, 0.5)  # share of takers that buy
        self.rush: FloatArray = np.full(
            shape, CALM_RUSH
        )  # probability that a fill belongs to the order before it


CALM_RUSH = 0.04
_SPIKE_RISE_US = 6 * SECOND_US
_SPIKE_RETURN_US = 100 * SECOND_US
_PUMP_RISE_SHARE = 0.42  # of the episode; the dump takes the rest
_PUMP_LEFT = 0.1  # of the move is left at the end, and eases away
_PUMP_RETURN_US = 40 * SECOND_US


def _ease(x: float) -> float:
    """From 0 at 0 to 1 at 1, smooth at both ends."""
    return 0.5 - 0.5 * cos(pi * min(max(x, 0.0), 1.0))


def _volatility_spike(effects: Effects, columns: Sequence[int], episode: Episode, step: int, at: int) -> None:
    """A fast move that stays for the episode and then eases back; takers and spreads pick up."""
    since = at - episode.starts_at
    gone = _ease((at - episode.ends_at) / _SPIKE_RETURN_US)
    move = log(1.0 + episode.direction * episode.size)
    effects.shift[step, columns] += move * _ease(since / _SPIKE_RISE_US) * (1.0 - gone)
    if at <= episode.ends_at:
        effects.activity[step, columns] *= 3.0
        effects.spread[step, columns] *= 1.4
        effects.buy_share[step, columns] = 0.5 + 0.25 * episode.direction


def _spoofing(effects: Effects, columns: Sequence[int], episode: Episode, step: int, at: int) -> None:
    """One side of the book is blown up by orders that are never meant to trade."""
    if at <= episode.ends_at:
        depth = effects.bid_depth if episode.direction > 0 else effects.ask_depth
        depth[step, columns] *= episode.size


def _spread_blow_out(effects: Effects, columns: Sequence[int], episode: Episode, step: int, at: int) -> None:
    """Makers step back: the spread opens, the book thins, fewer trade."""
    if at <= episode.ends_at:
        effects.spread[step, columns] *= episode.size
        effects.bid_depth[step, columns] *= 0.2
        effects.ask_depth[step, columns] *= 0.2
        effects.activity[step, columns] *= 0.7


def _decoupling(effects: Effects, columns: Sequence[int], episode: Episode, step: int, at: int) -> None:
    """The first instrument goes against what it usually goes with, and more strongly."""
    if at <= episode.ends_at:
        effects.gain[step, columns[0]] = -episode.size
        effects.holds[step, columns[0]] = True


def _pump_and_dump(effects: Effects, columns: Sequence[int], episode: Episode, step: int, at: int) -> None:
    """A rush of market buys lifts the price; then it is sold off."""
    rise = _PUMP_RISE_SHARE * (episode.ends_at - episode.starts_at)
    since = at - episode.starts_at
    is_rising = since <= rise
    if is_rising:
        share = (since / rise) ** 1.3
    elif at <= episode.ends_at:
        share = exp(log(_PUMP_LEFT) * (since - rise) / (episode.ends_at - episode.starts_at - rise))
    else:
        share = _PUMP_LEFT * (1.0 - _ease((at - episode.ends_at) / _PUMP_RETURN_US))
    effects.shift[step, columns] += log(1.0 + episode.size) * share
    if at <= episode.ends_at:
        effects.activity[step, columns] *= 14.0 if is_rising else 6.0
        effects.trade_size[step, columns] *= 1.8 if is_rising else 1.3
        effects.buy_share[step, columns] = 0.93 if is_rising else 0.25
        effects.rush[step, columns] = 0.7 if is_rising else 0.3
        effects.spread[step, columns] *= 1.8


_PLAY: Mapping[EpisodeKind, Callable[[Effects, Sequence[int], Episode, int, int], None]] = {
    EpisodeKind.VOLATILITY_SPIKE: _volatility_spike,
    EpisodeKind.SPOOFING: _spoofing,
    EpisodeKind.SPREAD_BLOW_OUT: _spread_blow_out,
    EpisodeKind.DECOUPLING: _decoupling,
    EpisodeKind.PUMP_AND_DUMP: _pump_and_dump,
}


def play(episodes: Sequence[Episode], times: Sequence[int], columns: Mapping[InstrumentKey, int]) -> Effects:
    """The effects of `episodes` at each of `times`.

    Args:
        episodes: those that may show at `times`.
        times: the ends of the steps, microseconds since 1970 UTC.
        columns: the column of each instrument.

    Raises:
        KeyError: an episode names an instrument that the market does not have.
    """
    effects = Effects(len(times), len(columns))
    for episode in episodes:
        where = [columns[key] for key in episode.instruments]
        for step, at in enumerate(times):
            if at > episode.starts_at:
                _PLAY[episode.kind](effects, where, episode, step, at)
    return effects
