"""What a client sees of the simulated market, in windows of 5 s: computed straight from the frames."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest_daemon.venues.simulated import InstrumentKey, SimulatedFrame, SimulatedMarket

ANCHOR = 1_700_000_000_000_000
SECOND = 1_000_000
WINDOW = 5 * SECOND

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quotes:
    """One instrument; entry i is the window [ANCHOR + i · 5 s, …)."""

    mid: Array  # at the end of the window
    spread_bps: Array  # mean
    imbalance: Array  # mean of (bid size − ask size) / (bid size + ask size)

    @property
    def returns_bps(self) -> Array:
        return np.diff(np.log(self.mid)) * 1e4


@dataclass(frozen=True)
class Fill:
    trade_id: int
    at_ms: int
    price: float
    size: float
    is_buy: bool


def number_of_window(at_us: int) -> int:
    return (at_us - ANCHOR) // WINDOW


def quotes(market: SimulatedMarket, until_us: int) -> dict[InstrumentKey, Quotes]:
    """From the anchor on."""
    rows: dict[InstrumentKey, list[tuple[int, float, float, float]]] = defaultdict(list)
    # What is sent before `until_us` may arrive a little later.
    for frame in market.frames(ANCHOR, until_us + SECOND, ("bookTicker",)):
        data = json.loads(frame.text)["data"]
        bid, bid_size, ask, ask_size = (float(data[name]) for name in "bBaA")
        if data["u"] < until_us:
            mid = (bid + ask) / 2
            rows[InstrumentKey(frame.venue, data["s"])].append(
                (data["u"], mid, (ask - bid) / mid * 1e4, (bid_size - ask_size) / (bid_size + ask_size))
            )
    return {key: _in_windows(np.array(of_key)) for key, of_key in rows.items()}


def _in_windows(rows: Array) -> Quotes:
    number = ((rows[:, 0] - ANCHOR) // WINDOW).astype(np.int64)
    assert set(number) == set(range(number[-1] + 1)), "a window without a quote"
    count = np.bincount(number)
    last = np.cumsum(count) - 1
    return Quotes(
        mid=rows[last, 1],
        spread_bps=np.bincount(number, rows[:, 2]) / count,
        imbalance=np.bincount(number, rows[:, 3]) / count,
    )


def fills(frames: Iterable[SimulatedFrame]) -> dict[InstrumentKey, list[Fill]]:
    """In the order of arrival."""
    trades: dict[InstrumentKey, list[Fill]] = defaultdict(list)
    for frame in frames:
        if frame.stream.endswith("@trade"):
            data = json.loads(frame.text)["data"]
            trades[InstrumentKey(frame.venue, data["s"])].append(
                Fill(data["t"], data["T"], float(data["p"]), float(data["q"]), not data["m"])
            )
    return dict(trades)


def z_scores(values: Array, windows: int = 60) -> Array:
    """Of each value against the last `windows`, itself included; entry 0 is of values[windows − 1]."""
    past = np.lib.stride_tricks.sliding_window_view(values, windows)
    scores: Array = (past[:, -1] - past.mean(axis=1)) / past.std(axis=1, ddof=1)
    return scores


def rolling_correlation(left: Array, right: Array, samples: int = 24) -> Array:
    """Pearson; entry 0 is of the first `samples` values."""
    a = np.lib.stride_tricks.sliding_window_view(left, samples)
    b = np.lib.stride_tricks.sliding_window_view(right, samples)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    correlation: Array = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return correlation
