"""The events around an alert, one after the other, as they came.

What lives here: their order, their pace, a line of each. What never does: reading; the events come from
`readings.events_around`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["event_line", "paced"]

_LONGEST_PAUSE_S: Final = 5.0
_SIDES: Final = {1: "bought", -1: "sold", 0: "traded"}


def paced(
    events: Iterable[Mapping[str, Any]], speed: float | None, sleep: Callable[[float], None]
) -> Iterator[Mapping[str, Any]]:
    """The events, `speed` market seconds a second; None: at once. No pause is longer than 5 s."""
    before: datetime | None = None
    for event in events:
        if speed is not None and before is not None:
            pause = (event["time"] - before).total_seconds() / speed
            if pause > 0:
                sleep(min(pause, _LONGEST_PAUSE_S))
        before = event["time"]
        yield event


def event_line(event: Mapping[str, Any], first: datetime, last_end: datetime) -> str:
    """One event; marked where it lies in a window of the alert.

    >>> moment = datetime(2024, 8, 8, 12, 0, 1, tzinfo=UTC)
    >>> trade = {"time": moment, "kind": "trade", "price": 61.5, "size": 2.0, "side": 1}
    >>> event_line(trade, moment, moment)
    '  12:00:01.000000  trade  bought 2 at 61.5'
    """
    mark = ">" if first <= event["time"] < last_end else " "
    if event["kind"] == "trade":
        what = f"{_SIDES[event['side']]} {event['size']:g} at {event['price']:.10g}"
    else:
        what = (
            f"{event['bid_size']:g} at {event['bid_price']:.10g} | "
            f"{event['ask_size']:g} at {event['ask_price']:.10g}"
        )
    return f"{mark} {event['time'].astimezone(UTC):%H:%M:%S.%f}  {event['kind']:<5}  {what}"
