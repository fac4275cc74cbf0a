"""Draws a `Snapshot`: the live view in a terminal, one plain line where there is none.

What lives here: rendering, pure functions of the snapshot and the size. What never does: queries,
clocks, keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sentinet_dagster.runtime.snapshot import (
    AlertState,
    Episode,
    FeedState,
    Flow,
    InstrumentState,
    Snapshot,
    Step,
)

_BARS = "▁▂▃▄▅▆▇█"
SEVERITY_STYLES = {"critical": "bold white on red", "warning": "black on yellow", "info": "black on cyan"}
_OUTCOME = {
    "to come": ("·", "dim"),
    "running": ("▶", "bold yellow"),
    "found": ("✔", "bold green"),
    "not yet": ("…", "yellow"),
    "missed": ("✘", "bold red"),
}
_STEP = {"waiting": ("·", "dim"), "running": ("▸", "bold yellow"), "done": ("✔", "green")}


def render(snapshot: Snapshot, width: int, height: int) -> Layout:
    """The whole screen. It is made for 100×30 and more; below that rows are cut from the bottom."""
    wide = width >= 140
    middle = min(max(len(snapshot.instruments), 6) + 3, max(height - 12, 8))
    alert_lines = max(height - middle - 7, 2)  # header, flow, footer and the panel's own border are 7
    root = Layout()
    root.split_column(
        Layout(_header(snapshot), name="header", size=1),
        Layout(_flow(snapshot.flow), name="flow", size=3),
        Layout(name="middle", size=middle),
        Layout(_alerts(snapshot.alerts, alert_lines), name="alerts"),
        Layout(_footer(snapshot), name="footer", size=1),
    )
    side = Layout(name="side", ratio=2 if wide else 9)
    starting = snapshot.elapsed_s is None
    side.split_column(
        Layout(_steps(snapshot.steps) if starting else _episodes(snapshot.episodes, wide), name="script"),
        Layout(_feeds(snapshot.feeds), name="feeds", size=max(len(snapshot.feeds), 1) + 2),
    )
    root["middle"].split_row(
        Layout(_market(snapshot.instruments, 34 if wide else 10), name="market", ratio=3 if wide else 14),
        side,
    )
    return root


def plain_line(snapshot: Snapshot) -> str:
    """One moment in one line, for logs and terminals that cannot draw."""
    flow = snapshot.flow
    parts = [
        _clock(snapshot),
        f"frames/s {_number(flow.frames_per_s)}",
        f"rows/s {_number(flow.rows_per_s)}",
        f"frame→row {_unit(flow.frame_to_row_ms, 'ms')}",
        f"row→alert {_unit(flow.row_to_alert_s, 's')}",
        f"runs {flow.runs_succeeded} ok {flow.runs_failed} failed",
    ]
    if snapshot.episodes:
        found = sum(episode.state == "found" for episode in snapshot.episodes)
        parts.append(f"episodes {found}/{len(snapshot.episodes)}")
    return "  ".join(parts)


def alert_line(alert: AlertState) -> str:
    """An alert in one plain line."""
    return f"  ! {alert.raised_at:%H:%M:%S} {alert.severity} {alert.detector}: {alert.summary}"


def step_line(step: Step) -> str:
    """A step of the start-up in one plain line."""
    took = f" in {step.seconds:.1f} s" if step.seconds is not None else ""
    return f"  {_STEP[step.state][0]} {step.title}{took}" + (f" ({step.detail})" if step.detail else "")


def episode_line(episode: Episode) -> str:
    """An episode in one plain line."""
    what = f"{episode.kind.replace('_', ' ')} on {episode.instrument}"
    fate = f"found {_outcome(episode, wide=True)}" if episode.state == "found" else episode.state
    return f"  {_OUTCOME[episode.state][0]} {what}: {fate}"


def _header(snapshot: Snapshot) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    left = Text.assemble((" SENTINET ", "bold white on blue"), ("  " + snapshot.title, "bold"))
    clock = Text(_clock(snapshot) + " ", "bold yellow" if snapshot.elapsed_s is None else "bold green")
    grid.add_row(left, clock)
    return grid


def _footer(snapshot: Snapshot) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    if snapshot.dagster_url:
        left = Text.assemble((" Dagster ", "black on cyan"), "  ", (snapshot.dagster_url, "underline cyan"))
    else:
        left = Text(" Dagster is starting", "dim")
    if snapshot.note:
        left.append("   " + snapshot.note, "dim")
    grid.add_row(left, Text("Ctrl-C stops everything ", "dim"))
    return grid


def _clock(snapshot: Snapshot) -> str:
    if snapshot.elapsed_s is None:
        return "starting"
    passed = _minutes(snapshot.elapsed_s)
    return f"{passed} / {_minutes(snapshot.for_s)}" if snapshot.for_s else passed


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def _flow(flow: Flow) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    figures = [
        ("frames/s", _number(flow.frames_per_s), "bold"),
        ("rows/s", _number(flow.rows_per_s), "bold"),
        ("frame→row", _unit(flow.frame_to_row_ms, "ms"), "bold"),
        ("row→alert", _unit(flow.row_to_alert_s, "s"), "bold"),
        ("rows", _short(flow.rows), "bold"),
    ]
    cells = [Text.assemble((name + " ", "dim"), (value, style)) for name, value, style in figures]
    failed = (f" {flow.runs_failed} failed", "bold red" if flow.runs_failed else "dim")
    cells.append(Text.assemble(("runs ", "dim"), (f"{flow.runs_succeeded} ok", "bold green"), failed))
    for _ in cells:
        grid.add_column(justify="center", no_wrap=True)
    grid.add_row(*cells)
    return Panel(grid, box=ROUNDED, border_style="blue", padding=(0, 0))


def _market(instruments: Sequence[InstrumentState], chart: int) -> RenderableType:
    if not instruments:
        body: RenderableType = Text("\n  no window judged yet", "dim")
    else:
        table = Table(box=None, expand=True, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("  instrument", no_wrap=True, ratio=1, min_width=18)
        table.add_column("price", justify="right", no_wrap=True)
        table.add_column("spread", justify="right", no_wrap=True)
        table.add_column("z", justify="right", no_wrap=True)
        table.add_column("whole", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True, width=chart)
        for instrument in instruments:
            table.add_row(*_market_row(instrument, chart))
        body = table
    return _panel(body, "market", "blue")


def _market_row(instrument: InstrumentState, chart: int) -> list[Text]:
    z = instrument.price_z
    z_style = "dim" if z is None else "bold red" if abs(z) > 3 else "yellow" if abs(z) > 2 else ""
    whole = instrument.completeness
    whole_style = "dim" if whole is None else "red" if whole < 0.9 else "yellow" if whole < 1 else "green"
    marker = ("! ", "bold red") if instrument.alerting else ("  ", "")
    return [
        Text.assemble(marker, (instrument.symbol, "bold" if instrument.alerting else "")),
        Text(_price(instrument.price)),
        Text("–" if instrument.spread_bps is None else f"{instrument.spread_bps:.1f}"),
        Text("–" if z is None else f"{z:+.1f}", z_style),
        Text("–" if whole is None else f"{whole:.0%}", whole_style),
        Text(_chart(instrument.prices, chart), "cyan"),
    ]


def _chart(values: Sequence[float], width: int) -> str:
    """The last `width` values as a row of bars between their least and their greatest."""
    shown = values[-width:]
    if len(shown) < 2:
        return ""
    least, greatest = min(shown), max(shown)
    if greatest == least:
        return _BARS[3] * len(shown)
    return "".join(_BARS[int((value - least) / (greatest - least) * 7.999)] for value in shown)


def _steps(steps: Sequence[Step]) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    for step in steps:
        mark, style = _STEP[step.state]
        took = step.detail or ("" if step.seconds is None else f"{step.seconds:.1f} s")
        grid.add_row(Text(mark, style), Text(step.title, style), Text(took, "dim"))
    return _panel(grid, "starting", "yellow")


def _episodes(episodes: Sequence[Episode], wide: bool) -> RenderableType:
    if not episodes:
        body: RenderableType = Text("none scripted", "dim")
    else:
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1, no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
        for episode in episodes:
            mark, style = _OUTCOME[episode.state]
            grid.add_row(
                Text(mark, style),
                Text(episode.kind.replace("_", " "), style if episode.state != "found" else ""),
                Text(episode.instrument, "dim"),
                Text(_outcome(episode, wide), style),
            )
        body = grid
    found = sum(episode.state == "found" for episode in episodes)
    title = f"scripted episodes, {found} of {len(episodes)} found" if episodes else "scripted episodes"
    return _panel(body, title, "magenta")


def _outcome(episode: Episode, wide: bool) -> str:
    if episode.state == "to come":
        return f"in {max(episode.starts_in_s, 0):.0f} s"
    if episode.state == "found":
        if not wide:
            return _unit(episode.delay_s, "s")
        by = f"by {episode.found_by.replace('_', ' ')} " if episode.found_by else ""
        return f"{by}after {_unit(episode.delay_s, 's')}"
    return episode.state


def _feeds(feeds: Sequence[FeedState]) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    for feed in feeds:
        healthy = feed.connected and (feed.silent_s is None or feed.silent_s < 10)
        rate = "–" if feed.frames_per_s is None else f"{feed.frames_per_s:,.0f}/s"
        gaps = Text(f"{feed.gaps} gaps", "yellow" if feed.gaps else "dim")
        grid.add_row(Text("●", "green" if healthy else "red"), Text(feed.venue), Text(rate), gaps)
    if not feeds:
        grid.add_row(Text("●", "dim"), Text("no feed yet", "dim"), Text(""), Text(""))
    return _panel(grid, "feeds", "blue")


def _alerts(alerts: Sequence[AlertState], lines: int) -> RenderableType:
    """Two lines an alert: what it says, then its numbers."""
    if not alerts:
        return _panel(Text("none yet", "dim"), "alerts", "red")
    shown: list[Text] = []
    for alert in alerts[: max(lines // 2, 1)]:
        head = Text.assemble(
            (f"{alert.raised_at:%H:%M:%S} ", "dim"),
            (f"{alert.severity:^10}", SEVERITY_STYLES[alert.severity]),
            (f" {alert.detector.replace('_', ' ')} ", "bold"),
            alert.summary,
            no_wrap=True,
            overflow="ellipsis",
        )
        evidence = Text(" " * 20 + alert.evidence, "dim", no_wrap=True, overflow="ellipsis")
        shown += [head, evidence]
    return _panel(Group(*shown), "alerts", "red")


def _panel(body: RenderableType, title: str, colour: str) -> Panel:
    return Panel(body, title=title, title_align="left", box=ROUNDED, border_style=colour, padding=(0, 1))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _unit(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:.0f} {unit}" if value >= 20 else f"{value:.1f} {unit}"


def _short(value: int) -> str:
    if value >= 1_000_000:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:.0f} k" if value >= 10_000 else str(value)


def _price(price: float | None) -> str:
    if price is None:
        return "–"
    decimals = 2 if price >= 100 else 4 if price >= 1 else 6
    return f"{price:,.{decimals}f}"
