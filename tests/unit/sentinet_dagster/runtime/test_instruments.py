from __future__ import annotations

from pathlib import Path

import pytest

from sentinet_dagster.runtime.database import ROOT
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.instruments import read_instruments

GOOD = "{venue: binance, symbol: BTC-USDT, venue_symbol: BTCUSDT, kind: spot, base: BTC, quote: USDT}"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "venues.yaml").write_text("venues: {binance: {}, binance_usdm: {}}")
    return tmp_path


def write(config: Path, *entries: str) -> Path:
    (config / "instruments.yaml").write_text(
        "instruments:\n" + "".join(f"  - {entry}\n" for entry in entries)
    )
    return config


def test_the_projects_own_file_is_good() -> None:
    instruments = read_instruments(ROOT / "config")
    assert ("binance", "BTC-USDT", "BTCUSDT") in {(i.venue, i.symbol, i.venue_symbol) for i in instruments}


def test_optional_keys_have_defaults(config: Path) -> None:
    (instrument,) = read_instruments(write(config, GOOD))
    assert instrument.tick_size is None
    assert (instrument.contract_size, instrument.contract_currency) == (1, "base")
    (instrument,) = read_instruments(write(config, GOOD.replace("}", ", tick_size: 1}")))
    assert instrument.tick_size == 1.0


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (
            GOOD.replace("kind: spot", "kind: sport"),
            "kind is 'sport': write spot, perpetual, future or equity",
        ),
        (
            GOOD.replace("symbol: BTC-USDT,", "symbol: btc/usdt,"),
            "symbol is 'btc/usdt': write upper case such as",
        ),
        (GOOD.replace("base: BTC, ", ""), "base is missing: write upper case such as BTC"),
        (GOOD.replace("}", ", tick_size: -1}"), "tick_size is -1: write a number above 0, or left out"),
        (GOOD.replace("}", ", contract_currency: usd}"), "contract_currency is 'usd': write base or quote"),
        (GOOD.replace("}", ", contract_size: .inf}"), "contract_size is inf: write a number above 0"),
        (
            GOOD.replace("}", ", ticksize: 1}"),
            "unknown key 'ticksize'; the keys are venue, symbol, venue_symbol",
        ),
        (
            GOOD.replace("venue: binance,", "venue: kraken,"),
            "venue 'kraken' is not in venues.yaml, which has: binance,",
        ),
        ("BTCUSDT", "is 'BTCUSDT': write keys and values"),
        (GOOD, "symbol 'BTC-USDT' of binance is entry 1 already"),
        (
            GOOD.replace("symbol: BTC-USDT,", "symbol: XBT-USDT,"),
            "venue_symbol 'BTCUSDT' of binance is entry 1",
        ),
    ],
)
def test_a_bad_entry_is_named_with_the_accepted_form(config: Path, entry: str, complaint: str) -> None:
    with pytest.raises(UserError) as failure:
        read_instruments(write(config, GOOD, entry))
    message = str(failure.value)
    assert message.startswith(f"{config / 'instruments.yaml'}: entry 2")
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("instruments: [", "line 1, column 15: not YAML"),
        ("instruments: {}", "must be a list"),
        ("- a", "must be keys and values"),
        ("", "must be keys and values"),
    ],
)
def test_a_broken_file_is_named(config: Path, content: str, complaint: str) -> None:
    (config / "instruments.yaml").write_text(content)
    with pytest.raises(UserError) as failure:
        read_instruments(config)
    assert complaint in str(failure.value)
    assert str(failure.value).startswith(str(config / "instruments.yaml"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"venues\.yaml is missing: set SENTINET_CONFIG_DIR"):
        read_instruments(tmp_path)


def test_venues_must_be_keys(config: Path) -> None:
    (config / "venues.yaml").write_text("venues: [binance]")
    with pytest.raises(UserError, match=r"venues\.yaml: venues must be keys and values"):
        read_instruments(write(config, GOOD))
