"""What the environment says to the code location, read once. Nothing else here; nobody else below reads it.

    SENTINET_PARTITIONS_START    the first hour that has a partition, ISO 8601, UTC (2024-01-01)
    SENTINET_ALLOWED_LATENESS    seconds of received data from a window's end to its judging (1; push: 0.3)
    SENTINET_PUSH                1: the push listener launches runs, the sensor is its safety net (0)
    SENTINET_LATE_HORIZON        seconds after their time; facts received later wait for a backfill (86400)
    SENTINET_TICK_WAIT           seconds a tick waits for the next window to close, below 5 (3.8; push: 0)
    SENTINET_CONFIG_DIR          the folder of surveillance.yaml (<repository>/config)
    SENTINET_HOME                where what dbt has parsed is kept (.sentinet)
    SENTINET_NOTIFY_URL          where to POST what an operator must know, as JSON (nowhere: it is logged)

SENTINET_DATABASE_URL is read by Dagster itself when a run starts, as `EnvVar`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

__all__ = ["SETTINGS", "SettingError", "Settings", "read_settings"]

_REPOSITORY: Final = Path(__file__).resolve().parents[1]


class SettingError(ValueError):
    """A variable is wrong. The message names it, its value and the accepted form."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the code location."""

    first_hour: datetime
    push: bool
    lateness: timedelta
    late_horizon: timedelta
    tick_wait: timedelta
    config_dir: Path
    home: Path
    notify_url: str


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings of an environment.

    Raises:
        SettingError: a variable is wrong.

    >>> read_settings({"SENTINET_ALLOWED_LATENESS": "0.5"}).lateness
    datetime.timedelta(microseconds=500000)
    """
    push = _switch(environment, "SENTINET_PUSH")
    return Settings(
        first_hour=_hour(environment.get("SENTINET_PARTITIONS_START") or "2024-01-01"),
        push=push,
        lateness=_seconds(environment, "SENTINET_ALLOWED_LATENESS", "0.3" if push else "1", most=3600),
        late_horizon=_seconds(environment, "SENTINET_LATE_HORIZON", "86400", least=60, most=366 * 86400),
        # The 5 s between ticks, less what Dagster needs to start one and to launch what it asks for.
        tick_wait=_seconds(environment, "SENTINET_TICK_WAIT", "0" if push else "3.8", most=4.9),
        config_dir=Path(environment.get("SENTINET_CONFIG_DIR") or _REPOSITORY / "config"),
        home=Path(environment.get("SENTINET_HOME") or ".sentinet").expanduser().absolute(),
        notify_url=_http_url(environment, "SENTINET_NOTIFY_URL"),
    )


def _hour(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or (moment.minute, moment.second, moment.microsecond) != (0, 0, 0):
        raise SettingError(
            f"SENTINET_PARTITIONS_START={text}: want a full hour in UTC, such as 2024-01-01T00:00"
        )
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _switch(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name) or "0"
    if text not in ("0", "1"):
        raise SettingError(f"{name}={text}: want 1 or 0")
    return text == "1"


def _seconds(
    environment: Mapping[str, str], name: str, default: str, *, least: float = 0, most: float
) -> timedelta:
    text = environment.get(name) or default
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not least <= seconds <= most:
        raise SettingError(f"{name}={text}: want seconds from {least:g} to {most:g}, such as {default}")
    return timedelta(seconds=seconds)


def _http_url(environment: Mapping[str, str], name: str) -> str:
    url = environment.get(name, "").strip()
    if url and not url.startswith(("http://", "https://")):
        # What is there may be a secret: it is not repeated.
        raise SettingError(f"{name} is no address: want https://…, or nothing")
    return url


SETTINGS: Final = read_settings(os.environ)
