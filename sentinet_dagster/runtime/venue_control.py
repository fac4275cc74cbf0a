"""What the demo asks the venue server beside its market: when the script begins, and what was scripted.

What lives here: two HTTP requests. What never does: the server (`venue_server.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import httpx

from sentinet_dagster.runtime.errors import ProcessFailed
from sentinet_dagster.runtime.scorecard import Instrument, Scripted
from sentinet_dagster.spans import in_microseconds, moment

_TIMEOUT_S = 5.0


def begin_script(url: str, starts_at: datetime) -> None:
    """Have the script of the demo begin at `starts_at`, which lies ahead.

    Raises:
        ProcessFailed: the server does not answer, or says no.
    """
    try:
        answer = httpx.post(
            f"{url}/script",
            params={"starts_at_us": in_microseconds(starts_at)},
            timeout=_TIMEOUT_S,
            trust_env=False,
        )
    except httpx.TransportError as error:
        raise ProcessFailed("venue", f"does not answer: {error}") from error
    if not answer.is_success:
        raise ProcessFailed("venue", f"does not begin the script: {answer.text}")


def scripted_until(url: str, until: datetime, symbols: Mapping[Instrument, str]) -> list[Scripted] | None:
    """The episodes that begin before `until`, by start: the truth. None: the server does not answer.

    Args:
        url: the venue server.
        until: excluded.
        symbols: (venue, the venue's symbol) → the canonical symbol.
    """
    try:
        answer = httpx.get(
            f"{url}/episodes",
            params={"until_us": in_microseconds(until)},
            timeout=_TIMEOUT_S,
            trust_env=False,
        )
    except httpx.TransportError:
        return None
    return [
        Scripted(
            kind=episode["kind"],
            instruments=tuple(
                (leg["venue"], symbols[leg["venue"], leg["venue_symbol"]]) for leg in episode["instruments"]
            ),
            starts_at=moment(episode["starts_at_us"]),
            ends_at=moment(episode["ends_at_us"]),
        )
        for episode in answer.json()["episodes"]
    ]
