"""The demo's configuration: config/demo with the venue server's real address, in the home.

What lives here: copying and the addresses. What never does: what the settings mean.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import yaml

from sentinet_dagster.runtime.parts import ROOT
from sentinet_dagster.runtime.ports import LOOPBACK

SOURCE = ROOT / "config" / "demo"
_ADDRESSES = ("websocket_url", "rest_url")


def render_config(target: Path, venue_port: int) -> Path:
    """Write the demo's configuration into `target`, replacing what is there; returns `target`.

    Thresholds are the product's own: the demo shows what the detectors do as they are shipped.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(SOURCE, target)
    thresholds = target / "surveillance.yaml"
    if not thresholds.exists():
        shutil.copyfile(ROOT / "config" / "surveillance.yaml", thresholds)
    path = target / "venues.yaml"
    venues = yaml.safe_load(path.read_text(encoding="utf-8"))
    for venue in venues["venues"].values():
        for key in _ADDRESSES:
            venue[key] = urlunsplit(urlsplit(venue[key])._replace(netloc=f"{LOOPBACK}:{venue_port}"))
    path.write_text(yaml.safe_dump(venues, sort_keys=False), encoding="utf-8")
    return target
