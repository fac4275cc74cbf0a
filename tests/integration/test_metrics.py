"""The daemon's metrics as Prometheus itself judges them, with every part of it at work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import promtool
from tests.fake_venue import FakeVenue
from tests.integration.daemons import daemon_of, trades, watch_bitcoin

pytestmark = pytest.mark.integration

LABELS = {"venue", "relation", "cause", "le"}
README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


async def page_of_a_busy_daemon(database_url: str, directory: Path) -> str:
    """Of one that has received, written, refused, recorded, and lost a socket."""
    watch_bitcoin(database_url)
    async with (
        FakeVenue({}).serve() as venue,
        daemon_of(venue, database_url, directory, record=str(directory / "recordings")) as daemon,
    ):
        await venue.accept()
        await venue.send(*trades(0, 200), "not JSON")
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 201)
        venue.cut()
        await venue.accept()
        await venue.send(*trades(190, 210))
        await daemon.until("sentinet_ingest_gaps_total", lambda gaps: gaps >= 1)
        await daemon.until("sentinet_ingest_duplicates_total", lambda rows: rows == 10)
        await daemon.until("sentinet_ingest_recording_written_bytes_total", lambda size: size > 0)
        return await daemon.metrics()


async def test_promtool_has_nothing_to_say(database_url: str, tmp_path: Path) -> None:
    page = await page_of_a_busy_daemon(database_url, tmp_path)
    families = {family.name: family for family in text_string_to_metric_families(page)}

    assert families["sentinet_ingest_commit_seconds"].type == "histogram"
    assert families["sentinet_ingest_parse_seconds"].type == "histogram"
    for family in families.values():
        assert family.documentation, family.name
        for sample in family.samples:
            assert family.name.startswith("process_") or set(sample.labels) <= LABELS, sample
    for name in re.findall(
        r"`((?:\w+_)+(?:total|bytes|seconds|segments)|feed_live|recording_up)`",
        README.partition("## Watch")[2],
    ):
        assert f"sentinet_ingest_{name}" in page, name

    try:
        assert promtool.complaints_about(page) == ""
    except promtool.CannotRunError as reason:
        pytest.skip(f"no promtool: {reason}")


def test_promtool_would_complain(tmp_path: Path) -> None:
    """So that its silence says something."""
    page = "# HELP lag_milliseconds How late.\n# TYPE lag_milliseconds counter\nlag_milliseconds 1\n"
    try:
        said = promtool.complaints_about(page)
    except promtool.CannotRunError as reason:
        pytest.skip(f"no promtool: {reason}")
    assert "_total" in said
    assert "seconds" in said
