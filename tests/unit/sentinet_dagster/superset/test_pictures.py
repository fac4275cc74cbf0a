"""Names of pictures, and that a small one shows what the large one did."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageStat

from sentinet_dagster.superset import pictures
from sentinet_dagster.superset.bundle import read_bundle
from sentinet_dagster.superset.pictures import file_name, shrink, take_pictures
from sentinet_dagster.superset.questions import tabs
from sentinet_dagster.superset.screen import Shown

BACKGROUND, LINE = (10, 14, 20), (0, 255, 136)


def drawing() -> bytes:
    """A dark page with soft bands, as charts have, and a bright line."""
    page = Image.new("RGB", (600, 400), BACKGROUND)
    pen = ImageDraw.Draw(page)
    for x in range(600):
        pen.line([(x, 200), (x, 399)], fill=(x // 6, 40, 120 - x // 8))
    pen.line([(0, 50), (599, 150)], fill=LINE, width=3)
    packed = BytesIO()
    page.save(packed, "PNG")
    return packed.getvalue()


def as_rgb(png: bytes) -> Image.Image:
    with Image.open(BytesIO(png)) as picture:
        return picture.convert("RGB")


def test_examples_hold() -> None:
    outcome = doctest.testmod(pictures)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_a_small_picture_shows_the_same() -> None:
    small = shrink(drawing())
    with Image.open(BytesIO(small)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (600, 400))
    before, after = as_rgb(drawing()), as_rgb(small)
    off = ImageStat.Stat(ImageChops.difference(before, after))
    assert max(off.mean) < 2
    for point in ((300, 20), (300, 100)):  # the background, the line
        ours, theirs = before.getpixel(point), after.getpixel(point)
        assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 8


def test_every_tab_of_every_dashboard_has_a_name_of_its_own() -> None:
    found = [(tab.dashboard, tab.name) for tab in tabs(read_bundle())]
    assert len({file_name(*each) for each in found}) == len(found)


class Somebody:
    """At a screen that shows two tabs of one dashboard, and none of the other."""

    def __init__(self) -> None:
        self.at = ""

    def open(self, slug: str) -> None:
        self.at = slug

    def tabs(self) -> Iterator[str]:
        yield from {"first": ["Queue", "One alert"], "second": [""]}[self.at]

    def settled(self) -> list[Shown]:
        empty = self.at == "second"
        return [Shown(name, "table", False, "", empty, True, "") for name in ("A", "B")]

    def picture(self) -> bytes:
        return drawing()


def test_each_tab_becomes_a_file_with_what_is_wrong_on_it(tmp_path: Path) -> None:
    viewer: Any = Somebody()
    folder = tmp_path / "not" / "there"
    found = {each.file: each.complaints for each in take_pictures(viewer, ["first", "second"], folder)}
    assert found == {
        folder / "first_queue.png": [],
        folder / "first_one_alert.png": [],
        folder / "second.png": ["A: no results", "B: no results"],
    }
    assert all(as_rgb(file.read_bytes()).size == (600, 400) for file in found)
