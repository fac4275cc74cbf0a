"""Shows snapshots while something runs: a live screen in a terminal, now and then a plain line elsewhere.

What lives here: the terminal and the drawing thread. What never does: what is shown (`view.py`, `watch.py`).
Everything goes to stderr: stdout belongs to the result.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.layout import Layout
from rich.live import Live

from sentinet_dagster.runtime.snapshot import Snapshot
from sentinet_dagster.runtime.view import alert_line, episode_line, plain_line, render, step_line

DRAWN_PER_S = 2
LINE_EVERY_S = 5.0
_NOTICE_EVERY_S = 1.0


class Screen(Protocol):
    """Shows from `with` on, in a thread of its own."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing and leave the terminal as it was."""


def choose_screen(snapshot: Callable[[], Snapshot], *, live: bool) -> Screen:
    """A live screen where stderr is a terminal and it is wanted, else plain lines."""
    return LiveScreen(snapshot) if live and sys.stderr.isatty() else PlainScreen(snapshot)


class LiveScreen:
    """The whole terminal, redrawn twice a second."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._console = Console(stderr=True)
        self._live = Live(
            console=self._console,
            screen=True,
            refresh_per_second=DRAWN_PER_S,
            get_renderable=self._draw,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _draw(self) -> Layout:
        size = self._console.size
        return render(self._snapshot(), size.width, size.height)


class PlainScreen:
    """A line every five seconds, and one for each step, alert and episode when it is news."""

    def __init__(
        self, snapshot: Callable[[], Snapshot], write: Callable[[str], object] | None = None
    ) -> None:
        self._snapshot = snapshot
        self._write = write or (lambda line: sys.stderr.write(line + "\n"))
        self._told: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.tell_news(self._snapshot())

    def _run(self) -> None:
        waited = LINE_EVERY_S
        while not self._stop.wait(_NOTICE_EVERY_S):
            snapshot = self._snapshot()
            self.tell_news(snapshot)
            waited += _NOTICE_EVERY_S
            if waited >= LINE_EVERY_S and snapshot.elapsed_s is not None:
                self._write(plain_line(snapshot))
                waited = 0.0

    def tell_news(self, snapshot: Snapshot) -> None:
        """Write what was not written before."""
        news = [step_line(step) for step in snapshot.steps if step.state == "done"]
        if snapshot.dagster_url is not None:
            news.append(f"  Dagster's UI: {snapshot.dagster_url}")
        if snapshot.elapsed_s is not None:
            news += [alert_line(alert) for alert in reversed(snapshot.alerts)]
            ended = [episode for episode in snapshot.episodes if episode.state in ("found", "missed")]
            news += [episode_line(episode) for episode in ended]
        for line in news:
            if line not in self._told:
                self._told.add(line)
                self._write(line)
