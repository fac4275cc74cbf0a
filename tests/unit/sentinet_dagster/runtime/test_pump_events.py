"""A folder of labelled events: a rush is found, repeated rows are none, and what is wrong is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copyfile

import polars as pl
import pytest
from structlog.testing import capture_logs

from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.pump_events import read_pump_events, score_pump_events
from sentinet_dagster.surveillance.evaluation import summarise

START = datetime(2020, 5, 1, 17, 0, tzinfo=UTC)
HEADER = "file,symbol,announced_utc,label_chunk_5s_utc,label_chunk_15s_utc,label_chunk_25s_utc\n"


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def calm() -> list[tuple[str, int, str, float, float, float]]:
    """A trade a second for twenty minutes before the start, each there three times."""
    begins = milliseconds(START - timedelta(minutes=20))
    rows = [("ABC", begins + 1000 * s, "buy" if s % 2 else "sell", 1.0, 5.0, 5.0) for s in range(1200)]
    return [row for row in rows for _ in range(3)]


def rush() -> list[tuple[str, int, str, float, float, float]]:
    """Thirty seconds with two orders a second that take three others each, up to a tenth above."""
    begins = milliseconds(START)
    return [
        ("ABC", begins + 500 * order, "buy", 1 + 0.1 * order / 60 + 1e-4 * fill, 9.0 + fill, 9.0)
        for order in range(60)
        for fill in range(3)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, calm() + rush())
    (tmp_path / "labels.csv").write_text(f"{HEADER}one,ABC,2020-05-01 17:00:00,,,\n")
    return tmp_path


def write(folder: Path, rows: list[tuple[str, int, str, float, float, float]]) -> None:
    names = ["symbol", "timestamp", "side", "price", "amount", "btc_volume"]
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(folder / "one.parquet")


def test_a_rush_is_a_hit(folder: Path) -> None:
    (scored,) = score_pump_events(folder)
    assert scored.delay_s is not None
    assert 0 < scored.delay_s <= 30
    assert (scored.event.name, scored.event.symbol, scored.false_alerts) == ("one", "ABC", 0)
    assert summarise([scored]).recall == 1


def test_rows_that_repeat_others_are_no_rush(folder: Path) -> None:
    write(folder, calm())
    (scored,) = score_pump_events(folder)
    assert scored.alerts == ()


def test_the_finest_label_is_the_start(folder: Path) -> None:
    labels = "one,ABC,2020-05-01 17:00:00,,2020-05-01 17:00:15,2020-05-01 17:00:25\n"
    (folder / "labels.csv").write_text(HEADER + labels)
    (event,) = read_pump_events(folder)
    assert event.start == START + timedelta(seconds=15)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ("file,symbol\none,ABC\n", "lacks the columns label_chunk_5s_utc"),
        (f"{HEADER}two,ABC,2020-05-01 17:00:00,,,\n", "two.parquet is missing"),
        (f"{HEADER}one,ABC,soon,,,\n", "'soon' of one is no ISO time"),
        (f"{HEADER}one,ABC,,,,\n", "one has neither a label nor an announcement"),
        ("", r"labels\.csv cannot be read as CSV"),
    ],
)
def test_what_is_wrong_with_the_labels_is_named(folder: Path, labels: str, complaint: str) -> None:
    (folder / "labels.csv").write_text(labels)
    with pytest.raises(UserError, match=complaint):
        read_pump_events(folder)


def test_a_label_may_say_its_offset_from_utc(folder: Path) -> None:
    (folder / "labels.csv").write_text(f"{HEADER}one,ABC,2020-05-01T19:00:00+02:00,,,\n")
    (event,) = read_pump_events(folder)
    assert event.start == START


def test_trades_without_a_label_are_left_out_and_named(folder: Path) -> None:
    copyfile(folder / "one.parquet", folder / "two.parquet")
    with capture_logs() as logs:
        (event,) = read_pump_events(folder)
    assert event.name == "one"
    assert [each["files"] for each in logs] == [["two"]]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (pl.col("timestamp").cast(pl.String), "timestamp missing or of another type"),
        (pl.from_epoch("timestamp", "ms"), "timestamp missing or of another type"),
        (pl.col("price").cast(pl.String), "price missing or of another type"),
        (pl.lit("taker").alias("side"), "buy or sell, not 'taker'"),
    ],
)
def test_what_is_wrong_with_the_trades_is_named(folder: Path, change: pl.Expr, complaint: str) -> None:
    path = folder / "one.parquet"
    pl.read_parquet(path).with_columns(change).write_parquet(path)
    with pytest.raises(UserError, match=complaint):
        score_pump_events(folder)


def test_a_file_without_trades_is_named(folder: Path) -> None:
    path = folder / "one.parquet"
    pl.read_parquet(path).clear().write_parquet(path)
    with pytest.raises(UserError, match=r"one\.parquet holds no trades"):
        score_pump_events(folder)


def test_a_file_that_is_no_parquet_is_named(folder: Path) -> None:
    (folder / "one.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"one\.parquet is no parquet file"):
        score_pump_events(folder)


def test_what_is_no_folder_of_events_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.csv is missing"):
        read_pump_events(tmp_path)
