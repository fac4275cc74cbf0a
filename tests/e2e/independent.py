"""What a recording says, computed straight from its lines: no code of the product, no frame library.

Plain dictionaries and `json`, one pass, on purpose slow and obvious: the windows are held against it.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WINDOW_US = 5_000_000


@dataclass
class RecordedWindow:
    """One symbol in [start, start + 5 s), from the raw messages."""

    trades: dict[int, tuple[int, float, float, bool]] = field(
        default_factory=dict
    )  # id → time, price, size, seller
    spreads_bps: list[float] = field(default_factory=list)

    @property
    def volume(self) -> float:
        return math.fsum(size for _, _, size, _ in self.trades.values())

    @property
    def buy_volume(self) -> float:
        return math.fsum(size for _, _, size, seller in self.trades.values() if not seller)

    @property
    def vwap(self) -> float | None:
        if not self.trades:
            return None
        return math.fsum(price * size for _, price, size, _ in self.trades.values()) / self.volume

    @property
    def prices_in_order(self) -> list[float]:
        return [price for _, (_, price, _, _) in sorted(self.trades.items(), key=lambda t: (t[1][0], t[0]))]


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Receive time in µs and the decoded message of every line."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            nanoseconds, _, message = line.partition(" ")
            yield int(nanoseconds) // 1000, json.loads(message)


def count_streams(path: Path, venue: str) -> dict[str, int]:
    """Lines per "<venue>/<stream>"; a line without a stream is the depth snapshot of the file's symbol."""
    counts: dict[str, int] = defaultdict(int)
    symbol = path.name.partition("_")[0]
    for _, message in read_lines(path):
        counts[f"{venue}/{message.get('stream', f'{symbol}@depthSnapshot')}"] += 1
    return dict(counts)


def windows_of(path: Path) -> dict[int, RecordedWindow]:
    """Window start (µs) → what fell into it, by the venue's time where it gives one, else by receive time."""
    windows: dict[int, RecordedWindow] = defaultdict(RecordedWindow)
    for received_at, message in read_lines(path):
        kind = message.get("stream", "").partition("@")[2]
        data = message.get("data", {})
        if kind == "trade":
            at = data["T"] * 1000
            window = windows[at - at % WINDOW_US]
            window.trades[data["t"]] = (at, float(data["p"]), float(data["q"]), data["m"])
        elif kind == "bookTicker":
            at = data["T"] * 1000 if "T" in data else received_at
            bid, ask = float(data["b"]), float(data["a"])
            windows[at - at % WINDOW_US].spreads_bps.append((ask - bid) / ((ask + bid) / 2) * 10_000)
    return dict(windows)
