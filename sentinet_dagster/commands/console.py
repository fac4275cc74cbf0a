"""What a command says and where: the result on stdout, everything else on stderr.

What lives here: printing, and reading what a user types. What never does: what a command does.

Exit codes, for every command
    0   done
    1   it ran and the answer is no (an episode was not found, a run failed)
    2   the user must change something: one line on stderr says what
    130 interrupted
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sentinet_dagster.runtime.errors import UserError

EXIT_NO = 1
EXIT_USER = 2
EXIT_INTERRUPTED = 130

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
]


def print_json(result: Mapping[str, Any]) -> None:
    """The one JSON object of `--json`. Times become RFC 3339 in UTC, UUIDs their text."""
    sys.stdout.write(to_json(result) + "\n")
    sys.stdout.flush()


def to_json(result: Mapping[str, Any]) -> str:
    """The JSON in one line."""
    return json.dumps(result, default=_plain, allow_nan=False)


def say(line: str) -> None:
    """A line for a person, on stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def log_to_stderr(least: Literal["info", "warning"] = "warning") -> None:
    """Logs of this process go to stderr, from `least` on: stdout belongs to the result."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, least.upper())),
        logger_factory=lambda *_: _Lines(),
    )


class _Lines:
    """Lines on stderr. A disk that is too full for a log ends nothing: the line is lost."""

    def msg(self, line: str) -> None:
        with suppress(OSError):
            say(line)

    debug = info = warning = error = critical = exception = msg


def log_to_file(path: Path) -> None:
    """Logs of this process go to `path`, opened at the first line: a screen leaves them no other place."""
    import structlog

    class Lines:
        def msg(self, line: str) -> None:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

        debug = info = warning = error = critical = msg

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: Lines(),
        cache_logger_on_first_use=False,
    )


def parse_duration(text: str) -> timedelta:
    """`150s`, `2m`, `1h30m`, `90` (seconds).

    Raises:
        UserError: anything else; the message shows the accepted form.

    >>> parse_duration("1h30m").total_seconds()
    5400.0
    """
    import re

    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not text.strip() or match is None:
        raise UserError(f"{text!r} is not a duration: write 150s, 2m or 1h30m")
    hours, minutes, seconds = (float(part) if part else 0.0 for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def parse_time(text: str, now: datetime) -> datetime:
    """A moment: RFC 3339 (`2026-01-31T12:00Z`; without a zone it is UTC) or a duration back from now (`2h`).

    Raises:
        UserError: neither; the message shows both forms.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - parse_duration(text)
        except UserError:
            raise UserError(
                f"{text!r} is not a time: write 2026-01-31T12:00Z, or 2h for two hours ago"
            ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)
