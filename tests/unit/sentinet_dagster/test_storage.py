"""config/storage.yaml: what is accepted, what is said of what is not, what the shipped file means."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from sentinet_dagster.storage import (
    STORED,
    Edition,
    Retention,
    StorageError,
    StorageSettings,
    edition_of,
    load_storage,
)

SHIPPED = Path(__file__).resolve().parents[3] / "config" / "storage.yaml"
DAY = timedelta(days=1)


def test_the_shipped_file_says_the_defaults() -> None:
    assert load_storage(yaml.safe_load(SHIPPED.read_text())) == StorageSettings()


def test_the_promises_of_the_product_are_the_defaults() -> None:
    settings = StorageSettings()
    assert settings.columnstore_after == 7 * DAY
    assert settings.retention == Retention(
        facts=30 * DAY, judgement=365 * DAY, rollups=365 * DAY, ledger=30 * DAY
    )


@pytest.mark.parametrize(
    ("text", "span"),
    [("1 hour", timedelta(hours=1)), ("36 hours", timedelta(hours=36)), ("2 weeks", 14 * DAY)],
)
def test_a_span_has_a_unit(text: str, span: timedelta) -> None:
    assert load_storage({"chunks": {"facts": text}}).chunks.facts == span


def test_for_ever_is_no_span() -> None:
    settings = load_storage({"retention": {"facts": "forever"}, "columnstore_after": "forever"})
    assert settings.retention.facts is None
    assert settings.columnstore_after is None
    assert settings.retention.judgement == 365 * DAY


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ({"retention": {"facts": 30}}, "retention.facts is 30: expected a number of hours, days or weeks"),
        ({"retention": {"facts": "1 month"}}, "retention.facts is '1 month': expected"),
        ({"retention": {"facts": "0 days"}}, "retention.facts is '0 days': .* from 1 day to 36525 days"),
        ({"retention": {"facts": "2 hours"}}, "retention.facts is '2 hours': .*or forever"),
        ({"retention": {"facts": "-3 days"}}, "retention.facts is '-3 days'"),
        ({"retention": {"facts": "٣ days"}}, "retention.facts is '٣ days'"),
        ({"retention": {"ticks": "1 day"}}, "retention.ticks is no key; there are facts, judgement, rollups"),
        ({"retention": "30 days"}, "retention is '30 days': expected a mapping of keys"),
        ({"chunks": {"facts": "forever"}}, "chunks.facts is 'forever': expected .* from 1 hour to 366 days$"),
        ({"columnstore_after": None}, "columnstore_after is None: expected"),
        ({"compress": "1 day"}, "compress is no key; there are chunks, columnstore_after, retention"),
        (["retention"], r"the file is \['retention'\]: expected a mapping of keys"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(raw: object, complaint: str) -> None:
    with pytest.raises(StorageError, match=complaint):
        load_storage(raw)


def test_nothing_said_is_the_defaults() -> None:
    assert load_storage(None) == load_storage({}) == StorageSettings()


def test_editions_differ_in_who_keeps_the_promises() -> None:
    assert edition_of(None, None) is Edition.PLAIN
    # Loaded by the server, not created in this database.
    assert edition_of(None, "timescale") is Edition.PLAIN
    assert edition_of("2.29.0", "timescale") is Edition.COMMUNITY
    assert edition_of("2.19.3", "apache") is Edition.APACHE
    assert [edition.has_hypertables for edition in Edition] == [False, True, True]
    assert [edition.has_policies for edition in Edition] == [False, False, True]


def test_every_hypertable_is_ordered_by_its_time() -> None:
    for stored in STORED:
        assert (stored.order_by is not None) is (stored.chunks is not None), stored
        if stored.order_by is not None:
            assert stored.order_by.split(", ")[0] == stored.time_column, stored
