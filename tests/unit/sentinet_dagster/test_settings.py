"""The environment of the code location: defaults, and one clear sentence for what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sentinet_dagster.settings import SettingError, read_settings


def test_what_is_not_set_or_empty_has_a_default() -> None:
    settings = read_settings({"SENTINET_CONFIG_DIR": ""})
    assert settings.first_hour == datetime(2024, 1, 1, tzinfo=UTC)
    assert not settings.push
    assert settings.lateness == timedelta(seconds=1)
    assert settings.tick_wait == timedelta(seconds=3.8)
    assert (settings.config_dir / "surveillance.yaml").is_file()


def test_what_is_set_is_taken() -> None:
    environment = {
        "SENTINET_PARTITIONS_START": "2020-01-01T05:00+05:00",
        "SENTINET_ALLOWED_LATENESS": "0.25",
        "SENTINET_CONFIG_DIR": "/etc/sentinet",
    }
    settings = read_settings(environment)
    assert settings.first_hour == datetime(2020, 1, 1, tzinfo=UTC)
    assert settings.lateness == timedelta(milliseconds=250)
    assert settings.config_dir == Path("/etc/sentinet")


def test_with_push_windows_close_sooner_and_ticks_wait_for_nothing() -> None:
    settings = read_settings({"SENTINET_PUSH": "1"})
    assert (settings.lateness, settings.tick_wait) == (timedelta(seconds=0.3), timedelta(0))
    assert read_settings({"SENTINET_PUSH": "1", "SENTINET_ALLOWED_LATENESS": "2"}).lateness.seconds == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SENTINET_PARTITIONS_START", "yesterday"),
        ("SENTINET_PARTITIONS_START", "2024-01-01T00:30"),
        ("SENTINET_ALLOWED_LATENESS", "-1"),
        ("SENTINET_ALLOWED_LATENESS", "soon"),
        ("SENTINET_ALLOWED_LATENESS", "nan"),
        ("SENTINET_TICK_WAIT", "5"),
        ("SENTINET_PUSH", "yes"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{name}={value}: want "):
        read_settings({name: value})
