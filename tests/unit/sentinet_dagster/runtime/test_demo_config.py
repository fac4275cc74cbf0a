"""The demo's configuration in the home: the real address, and nothing else changed."""

from __future__ import annotations

from pathlib import Path

import yaml

from ingest_daemon import config
from sentinet_dagster.runtime.demo_config import SOURCE, render_config
from sentinet_dagster.runtime.history import venues_by_protocol
from sentinet_dagster.runtime.instruments import read_instruments


def test_the_venues_lead_to_the_real_port_and_keep_their_paths(tmp_path: Path) -> None:
    target = render_config(tmp_path / "config", 12345)
    venues = yaml.safe_load((target / "venues.yaml").read_text())["venues"]
    assert venues["simulated"]["websocket_url"] == "ws://127.0.0.1:12345/spot"
    assert venues["simulated_usdm"]["rest_url"] == "http://127.0.0.1:12345/usdm"
    source = yaml.safe_load((SOURCE / "venues.yaml").read_text())["venues"]
    assert {name: entry["channels"] for name, entry in venues.items()} == {
        name: entry["channels"] for name, entry in source.items()
    }


def test_what_is_rendered_is_accepted_by_both_programs(tmp_path: Path) -> None:
    target = render_config(tmp_path / "config", 12345)
    settings = config.load(target, {"SENTINET_DATABASE_URL": "postgresql://localhost/sentinet"})
    assert set(settings.enabled_venues) == {"simulated", "simulated_usdm"}
    assert len(read_instruments(target)) == 12
    assert (target / "surveillance.yaml").is_file()
    assert set(venues_by_protocol(target).values()) == {"simulated", "simulated_usdm"}


def test_rendering_again_replaces_what_is_there(tmp_path: Path) -> None:
    target = render_config(tmp_path / "config", 1)
    (target / "left_over.yaml").write_text("")
    render_config(target, 2)
    assert not (target / "left_over.yaml").exists()
    assert ":2/spot" in (target / "venues.yaml").read_text()
