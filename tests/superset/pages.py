"""An analyst at a browser: what their charts asked for, and what the browser complained of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Request, Response, expect

from sentinet_dagster.superset.screen import NotShown, Viewer
from tests.conftest import REPOSITORY

PICTURES: Path = REPOSITORY / "test-artifacts" / "dashboards"
PATIENCE_S = 300.0  # of a machine whose two cores have everything else to do, too


class Analyst(Viewer):
    """Somebody at a browser who has logged in."""

    def __init__(self, browser: Browser, url: str, name: str, password: str) -> None:
        super().__init__(browser, url, PATIENCE_S)
        self.posts: list[dict[str, Any]] = []  # what charts and filters have asked for
        self.underway: set[str] = set()  # what was asked for and is not answered
        self.troubles: list[str] = []  # what the browser complained of
        self.page.on("request", self._note)
        self.page.on("requestfinished", lambda request: self.underway.discard(request.url))
        self.page.on("requestfailed", self._note_failure)
        self.page.on("response", self._note_refusal)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("crash", lambda _: self.troubles.append("the page crashed"))
        self.log_in(name, password)

    def _note(self, request: Request) -> None:
        self.underway.add(request.url)
        if urlsplit(request.url).path == "/api/v1/chart/data":
            self.posts.append(request.post_data_json)

    def _note_failure(self, request: Request) -> None:
        self.underway.discard(request.url)
        self.troubles.append(f"{request.url}: {request.failure}")

    def _note_refusal(self, response: Response) -> None:
        if not response.ok:
            self.troubles.append(f"{response.url}: {response.status}")

    def open(self, slug: str) -> None:
        """As ever; a failure says what the page waits for, and leaves a picture."""
        self.troubles.clear()
        try:
            super().open(slug)
        except NotShown as late:
            self.page.screenshot(path=PICTURES / f"{slug}_not_shown.png")
            raise AssertionError(
                f"{late}; waiting for {sorted(self.underway)}; troubles: {self.troubles}"
            ) from late

    def choose(self, filter_name: str, value: str) -> None:
        """Set a native filter that is a list of values, and apply it."""
        label = self.page.locator('[data-test="filter-bar"] .ant-form-item', has_text=filter_name)
        box = label.first.locator(".ant-select")
        box.click()
        self.page.keyboard.type(value)
        option = self.page.locator(
            ".ant-select-item-option", has_text=re.compile(f"^{re.escape(value)}$")
        ).first
        option.click()
        self.page.keyboard.press("Escape")
        apply = self.page.locator('[data-test="filter-bar__apply-button"]')
        expect(apply).to_be_enabled()
        apply.click()
