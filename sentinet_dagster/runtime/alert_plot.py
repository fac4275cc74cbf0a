"""An alert as a picture: price, spread and imbalance around it, for the terminal or as a PNG.

What lives here: drawing. What never does: reading; the rows come from `readings.alert_chart`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sentinet_dagster.runtime.errors import UserError

__all__ = ["MEASURES", "draw", "save_png"]

MEASURES: Final[Mapping[str, str]] = {
    "price": "price",
    "spread_bps": "spread (bps)",
    "imbalance": "imbalance of the best quotes, -1 to 1",
}
_HEIGHT: Final = 9
_LEAST_WIDTH: Final = 40

Rows = Sequence[Mapping[str, Any]]  # window_start, and a number or None for each of MEASURES


def draw(rows: Rows, first: datetime, last: datetime, width: int, *, colour: bool = True) -> str:
    """The measures under one another, with lines where the alert begins and ends.

    Args:
        rows: a row a window, oldest first.
        first, last: start of the first window that fired, and of the last.
        width: columns of the terminal.
        colour: with terminal colours.
    """
    import plotext

    parts = []
    for name, title in MEASURES.items():
        points = [(row["window_start"], row[name]) for row in rows if row[name] is not None]
        if not points:
            parts.append(f"{title}: nothing known")
            continue
        plotext.clear_figure()
        plotext.theme("clear")
        plotext.plotsize(max(width, _LEAST_WIDTH), _HEIGHT)
        plotext.title(title)
        start = points[0][0]
        plotext.plot(
            [_seconds(moment, start) for moment, _ in points],
            [value for _, value in points],
            marker="braille",
            color="cyan",
        )
        for moment in dict.fromkeys((first, last)):
            plotext.vline(_seconds(moment, start), "red")
        ticks = [points[round(share * (len(points) - 1))][0] for share in (0, 1 / 3, 2 / 3, 1)]
        plotext.xticks(
            [_seconds(tick, start) for tick in ticks], [f"{tick.astimezone(UTC):%H:%M:%S}" for tick in ticks]
        )
        picture = plotext.build()
        parts.append(picture if colour else plotext.uncolorize(picture))
    return "\n".join(part.rstrip("\n") for part in parts)


def save_png(rows: Rows, title: str, first: datetime, last: datetime, path: Path) -> None:
    """The same as a file.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("a PNG takes matplotlib: pip install 'sentinet[plot]'") from None
    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, (name, label) in zip(
        figure.subplots(len(MEASURES), 1, sharex=True), MEASURES.items(), strict=True
    ):
        axes.plot([row["window_start"] for row in rows], [row[name] for row in rows], linewidth=1)
        axes.axvspan(first, last, color="tab:red", alpha=0.2)
        axes.set_ylabel(label, fontsize=8)
    try:
        figure.savefig(path, format="png", dpi=100)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def _seconds(moment: datetime, start: datetime) -> float:
    return (moment - start).total_seconds()
