"""Pictures of dashboards as files: their names, and small ones of large ones.

What lives here: which dashboards and tabs, names, colours. What never does: a browser (`screen.py`), which
Superset. Importing this needs pillow, of the extra `screenshots`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from PIL import Image

if TYPE_CHECKING:
    from sentinet_dagster.superset.screen import Viewer

__all__ = ["Picture", "file_name", "shrink", "take_pictures"]

_COLOURS: Final = 256  # a dark page of few hues: what is lost, nobody sees


class Picture(NamedTuple):
    """A tab of a dashboard as a file, and what of its charts shows no result."""

    file: Path
    complaints: list[str]


def take_pictures(viewer: Viewer, slugs: Iterable[str], folder: Path) -> Iterator[Picture]:
    """A picture of each tab of each dashboard, once its charts have settled. What is there is replaced.

    Args:
        viewer: somebody who has logged in.
        slugs: of the dashboards.
        folder: where the pictures go; it is made.

    Raises:
        OSError: the folder, or a file in it, cannot be written.
        NotShown, playwright.sync_api.Error: a dashboard does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for slug in slugs:
        viewer.open(slug)
        for tab in viewer.tabs():
            charts = viewer.settled()
            file = folder / file_name(slug, tab)
            file.write_bytes(shrink(viewer.picture()))
            yield Picture(file, [chart.complaint for chart in charts if chart.complaint])


def file_name(slug: str, tab: str) -> str:
    """Of a tab's picture; `tab` is "" where the dashboard has none.

    >>> file_name("surveillance", "One alert"), file_name("models", "")
    ('surveillance_one_alert.png', 'models.png')
    """
    words = re.findall(r"[a-z0-9]+", tab.lower())
    return "_".join([slug, *words]) + ".png"


def shrink(png: bytes) -> bytes:
    """The same picture as a PNG with a palette of few colours."""
    with Image.open(BytesIO(png)) as picture:
        # By hue, not by how often: the few bright points of a severity keep theirs among many dark ones.
        few = picture.convert("RGB").quantize(_COLOURS, Image.Quantize.FASTOCTREE)
    packed = BytesIO()
    few.save(packed, "PNG", optimize=True)
    return packed.getvalue()
