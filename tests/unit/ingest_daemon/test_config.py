"""Settings: what is read from where; every bad value is named with its accepted form, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest_daemon.config import load
from ingest_daemon.errors import ConfigError
from ingest_daemon.venues import CallLimit

URL = "postgresql://ana:s3cret@db.example:5432/sentinet"
ENVIRONMENT = {"SENTINET_DATABASE_URL": URL}
VENUE = """
venues:
  here:
    protocol: binance_spot
    websocket_url: ws://127.0.0.1:8000/
    rest_url: http://127.0.0.1:8001
    channels: [trade, depth]
"""


def write(directory: Path, text: str) -> Path:
    (directory / "venues.yaml").write_text(text, encoding="utf-8")
    return directory


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    settings = load(write(tmp_path, VENUE), ENVIRONMENT)

    venue = settings.venues["here"]
    assert (venue.enabled, venue.received_at, venue.stale_after_s) == (True, "clock", 30.0)
    assert venue.websocket_url == "ws://127.0.0.1:8000"
    assert venue.channels == ("trade", "depth")
    assert settings.tuning.health_host == "127.0.0.1"
    assert settings.enabled_venues == settings.venues


def test_the_environment_tunes(tmp_path: Path) -> None:
    tuning = load(
        write(tmp_path, VENUE),
        ENVIRONMENT
        | {"SENTINET_INGEST_BATCH_ROWS": "7", "SENTINET_INGEST_BATCH_AGE_S": "0.5", "SENTINET_OTHER": "x"},
    ).tuning

    assert (tuning.batch_rows, tuning.batch_age_s) == (7, 0.5)


def test_the_config_dir_is_the_arguments_or_else_the_environments(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    environment = ENVIRONMENT | {"SENTINET_CONFIG_DIR": str(write(tmp_path / "a", VENUE))}
    write(tmp_path / "b", VENUE.replace("here", "there"))

    assert list(load(None, environment).venues) == ["here"]
    assert list(load(tmp_path / "b", environment).venues) == ["there"]


def test_the_checkouts_own_venues_are_accepted() -> None:
    assert {"binance", "binance_usdm"} <= set(load(None, ENVIRONMENT).venues)


def test_a_disabled_venue_is_kept_apart(tmp_path: Path) -> None:
    second = VENUE.partition("venues:\n")[2].replace("here", "there") + "    enabled: false\n"

    settings = load(write(tmp_path, VENUE + second), ENVIRONMENT)

    assert list(settings.venues) == ["here", "there"]
    assert list(settings.enabled_venues) == ["here"]


@pytest.mark.parametrize(
    ("found", "put", "message"),
    [
        (
            "protocol: binance_spot",
            "protocol: nyse",
            "venues.here.protocol: 'nyse' is not accepted; expected one of",
        ),
        ("protocol: binance_spot", "", "venues.here.protocol: missing; expected one of binance_spot"),
        (
            "[trade, depth]",
            "[trade, tape]",
            "venues.here.channels: ['trade', 'tape'] is not accepted; expected channels of binance_spot: "
            "trade,",
        ),
        ("[trade, depth]", "[]", "venues.here.channels: [] is not accepted; expected a list of channels"),
        (
            "[trade, depth]",
            "trade",
            "venues.here.channels: 'trade' is not accepted; expected a list of channels",
        ),
        (
            "[trade, depth]",
            "[trade, 5]",
            "venues.here.channels.1: 5 is not accepted; expected a list of channels",
        ),
        (
            "ws://",
            "http://",
            "venues.here.websocket_url: 'http://127.0.0.1:8000/' is not accepted; expected ws://",
        ),
        ("ws://127.0.0.1:8000/", "ws://h:port", "venues.here.websocket_url: 'ws://h:port' is not accepted"),
        ("http://127.0.0.1:8001", "https://", "venues.here.rest_url: 'https://' is not accepted"),
        (
            "channels:",
            "stale_after_s: 0\n    channels:",
            "venues.here.stale_after_s: 0 is not accepted; expected a num",
        ),
        ("channels:", "stale_after_s: .nan\n    channels:", "venues.here.stale_after_s: nan is not accepted"),
        (
            "channels:",
            "received_at: now\n    channels:",
            "venues.here.received_at: 'now' is not accepted; expected clo",
        ),
        (
            "channels:",
            "stale: 5\n    channels:",
            "venues.here.stale: unknown; expected one of protocol, websocket_url",
        ),
        (
            "  here:",
            "  Here There:",
            "venues.Here There: 'Here There' is not accepted; expected a mapping from",
        ),
        ("venues:", "venue:", "venues: missing; expected a mapping"),
    ],
)
def test_a_bad_value_is_named_with_the_accepted_form(
    tmp_path: Path, found: str, put: str, message: str
) -> None:
    assert found in VENUE
    directory = write(tmp_path, VENUE.replace(found, put))

    with pytest.raises(ConfigError) as caught:
        load(directory, ENVIRONMENT)

    assert str(caught.value).startswith(f"{directory / 'venues.yaml'}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": venues: None is not accepted; expected a mapping"),
        ("- a\n", ": venues: ['a'] is not accepted; expected a mapping"),
        ("venues: {}\n", ": venues: none is enabled; expected at least one"),
        ("venues:\n  here: 5\n", ": venues.here: 5 is not accepted; expected a mapping"),
        ("venues:\n  a: [\n", ", line 3: "),
        ("venues:\n  a: {}\n  a: {}\n", ", line 3: key 'a' is given twice"),
        ("a: \0", ": not YAML in UTF-8"),
    ],
)
def test_a_broken_file_is_named_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), ENVIRONMENT)

    assert str(caught.value).startswith(f"{tmp_path / 'venues.yaml'}{message}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"venues.yaml: cannot be read: No such file"):
        load(tmp_path, ENVIRONMENT)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("BATCH_ROWS", "many", "'many' is not accepted; expected a whole number of rows, at least 1"),
        ("BATCH_ROWS", "0", "'0' is not accepted; expected a whole number of rows, at least 1"),
        ("BATCH_AGE_S", "inf", "'inf' is not accepted; expected a number of seconds, above 0 and at most 60"),
        (
            "SPOOL_BYTES",
            "1",
            "'1' is not accepted; expected a whole number of bytes, at least 65536; 0 for no spool",
        ),
        ("HEALTH_PORT", "65536", "'65536' is not accepted; expected a port number"),
        ("LOG_LEVEL", "loud", "'loud' is not accepted; expected debug, info, warning or error"),
        (
            "BATCH_ROW",
            "5",
            "unknown; expected one of SENTINET_INGEST_BATCH_ROWS, SENTINET_INGEST_BATCH_BYTES",
        ),
    ],
)
def test_a_bad_variable_is_named_with_the_accepted_form(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, VENUE), ENVIRONMENT | {f"SENTINET_INGEST_{name}": value})

    assert str(caught.value).startswith(f"SENTINET_INGEST_{name}: {message}")


@pytest.mark.parametrize(
    "url", ["", "s3cret", "mysql://u:s3cret@h/d", "postgresql://u:s3cret@h/d?colour=red"]
)
def test_the_databases_address_is_checked_and_never_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"SENTINET_DATABASE_URL .* expected postgresql://") as caught:
        load(write(tmp_path, VENUE), {"SENTINET_DATABASE_URL": url})

    assert "s3cret" not in str(caught.value)


def test_the_databases_address_is_not_in_the_settings_repr(tmp_path: Path) -> None:
    assert "s3cret" not in repr(load(write(tmp_path, VENUE), ENVIRONMENT))


@pytest.mark.parametrize("address", ["ws://u:s3cret@h/", "ws://h/?key=s3cret"])
def test_a_venues_address_is_shown_without_its_secret(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, VENUE.replace("ws://127.0.0.1:8000/", address)), ENVIRONMENT)

    assert "websocket_url" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("home", "spool"), [("/srv/here", "/srv/here/spool"), (" ", ".sentinet/spool")])
def test_the_spool_is_in_the_home(tmp_path: Path, home: str, spool: str) -> None:
    settings = load(write(tmp_path, VENUE), ENVIRONMENT | {"SENTINET_HOME": home})
    assert settings.spool == Path(spool)


KEYED = """
venues:
  stocks:
    protocol: alpaca_iex
    websocket_url: wss://stream.example
    rest_url: https://data.example
    channels: [trades]
"""
ACCOUNT = {"SENTINET_VENUE_STOCKS_KEY": "PKTESTKEY0001", "SENTINET_VENUE_STOCKS_SECRET": "s3cretS3CRET"}


def test_an_account_comes_from_the_environment_and_is_not_shown(tmp_path: Path) -> None:
    settings = load(write(tmp_path, KEYED), ENVIRONMENT | ACCOUNT)

    account = settings.credentials["stocks"]
    assert (account.key, account.secret) == tuple(ACCOUNT.values())
    for text in (repr(settings), str(settings), repr(account), str(account), f"{settings.credentials}"):
        assert not any(value in text for value in ACCOUNT.values())


@pytest.mark.parametrize("missing", list(ACCOUNT))
def test_an_account_that_is_missing_is_named_by_its_variable(tmp_path: Path, missing: str) -> None:
    directory = write(tmp_path, KEYED)
    for environment in (ENVIRONMENT | ACCOUNT | {missing: ""}, ENVIRONMENT | ACCOUNT | {missing: "s3cr et"}):
        with pytest.raises(ConfigError) as caught:
            load(directory, environment)
        assert str(caught.value).startswith(missing)
        assert "s3cr" not in str(caught.value).removeprefix(missing)


@pytest.mark.parametrize("setting", ["enabled: false", "received_at: recorded"])
def test_where_nobody_logs_in_no_account_is_wanted(tmp_path: Path, setting: str) -> None:
    second = VENUE.partition("venues:\n")[2] if "enabled" in setting else ""
    directory = write(tmp_path, KEYED + f"    {setting}\n" + second)
    assert load(directory, ENVIRONMENT).credentials == {}


POLLED = """
venues:
  prices:
    protocol: alpha_vantage
    rest_url: https://data.example
    channels: [GLOBAL_QUOTE]
"""
KEY = {"SENTINET_VENUE_PRICES_KEY": "AVTESTKEY0001"}


def test_a_polled_venue_has_no_socket_and_perhaps_a_plan(tmp_path: Path) -> None:
    venue = load(write(tmp_path, POLLED), ENVIRONMENT | KEY).venues["prices"]
    assert (venue.websocket_url, venue.call_limits) == (None, ())

    plan = "    calls_per_minute: 75\n    calls_per_day: 10000\n"
    venue = load(write(tmp_path, POLLED + plan), ENVIRONMENT | KEY).venues["prices"]
    assert venue.call_limits == (CallLimit(75, 60.0), CallLimit(10_000, 86_400.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            POLLED + "    received_at: recorded\n",
            "prices.received_at: 'recorded' is not accepted; expected clock:",
        ),
        (
            POLLED + "    calls_per_day: 0\n",
            "prices.calls_per_day: 0 is not accepted; expected a whole number",
        ),
        (
            VENUE + "    calls_per_day: 5\n",
            "here.calls_per_day: 5 is not accepted; expected none: the protocol",
        ),
        (
            VENUE.replace("websocket_url: ws://127.0.0.1:8000/", ""),
            "here.websocket_url: missing; expected ws://",
        ),
    ],
)
def test_settings_suit_the_transport(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), ENVIRONMENT | KEY)
    assert str(caught.value).startswith(f"{tmp_path / 'venues.yaml'}: venues.{message}")
