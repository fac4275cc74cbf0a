"""What an operator must know, told where they look: the log, and one web address.

What lives here: saying. What never does: what is worth saying, and keeping it: that is in the database, in
surveillance.failed_ranges and surveillance.late_hours, whether anybody could be told or not.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of resources as objects.

from typing import Any

import structlog
from dagster import ConfigurableResource

from sentinet_dagster.claims import ReportedRange, Turn

__all__ = ["Notifier"]

_TIMEOUT_S = 3.0

log = structlog.get_logger(__name__)


class Notifier(ConfigurableResource[Any]):
    """Tells an operator. A message is tried once; what it is about stays in `sentinet status`."""

    url: str = ""
    """Takes a POST of {"event", "text", …} as JSON; chat services show `text`. Empty: the log only."""

    def announce(self, turn: Turn, patience: int) -> None:
        """Say what of a turn an operator must know: the first report of a failing range, and its end."""
        for failed in turn.failed:
            log.error("range keeps failing", run_id=failed.run_id, error=failed.error, **_where(failed))
            if failed.attempts == patience:
                text = f"Sentinet cannot judge {_text(failed)}: {failed.error}"
                self._post("range_keeps_failing", text, run_id=failed.run_id, **_where(failed))
        for resolved in turn.resolved:
            log.info("failed range judged after all", **_where(resolved))
            self._post(
                "range_judged_after_all",
                f"Sentinet has judged {_text(resolved)} after all",
                **_where(resolved),
            )
        for start, end in turn.late:
            log.warning("facts too late, left to backfill", start=start.isoformat(), end=end.isoformat())

    def _post(self, event: str, text: str, **fields: str | int | None) -> None:
        if not self.url:
            return
        import httpx

        try:
            response = httpx.post(self.url, json={"event": event, "text": text, **fields}, timeout=_TIMEOUT_S)
            response.raise_for_status()
        except httpx.HTTPStatusError as error:
            log.warning("notification refused", notification=event, status=error.response.status_code)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The address may hold a secret, and the error's text the address.
            log.warning("notification not delivered", notification=event, reason=type(error).__name__)


def _where(reported: ReportedRange) -> dict[str, str | int]:
    return {
        "hour": reported.hour.isoformat(),
        "start": reported.start.isoformat(),
        "end": reported.end.isoformat(),
        "attempts": reported.attempts,
    }


def _text(reported: ReportedRange) -> str:
    return f"{reported.start:%Y-%m-%d %H:%M:%S} to {reported.end:%H:%M:%S} UTC ({reported.attempts} attempts)"
