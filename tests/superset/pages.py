"""What a person sees of a dashboard: tabs, charts, filters. Waits for what is shown, never for a time.

Superset keeps the charts of a tab that was left in the document, and draws a chart when it comes into view:
only what is visible counts, in a window that is as tall as a page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request, Response, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.conftest import REPOSITORY

PICTURES: Path = REPOSITORY / "test-artifacts" / "dashboards"
WINDOW = {"width": 1600, "height": 3600}
PATIENCE_MS = 300_000  # of a machine whose two cores have everything else to do, too

# A chart as it is now: what it shows, and whether that is a result. What is looked for depends on the kind:
# an empty chart has a frame, too.
_LOOK = """
slices => slices.filter(each => each.offsetParent !== null).map(each => {
  const kind = each.dataset.testVizType;
  const text = each.innerText;
  const drawn = {
    big_number: '.header-line', big_number_total: '.header-line',
    table: 'tbody tr td', pivot_table_v2: 'tbody tr td', handlebars: '[data-test="slice-container"] *',
  }[kind] || 'canvas';
  const mark = [...each.querySelectorAll(drawn)].find(one => one.getBoundingClientRect().width > 0);
  const busy = each.querySelector('[data-test="loading-indicator"], .loading') !== null;
  const alert = each.querySelector('.ant-alert-error, [data-test="error-alert"], [role="alert"]');
  const cells = [...each.querySelectorAll('tbody td')];
  const empty = /No results were returned/.test(text) ||
    (kind.startsWith('big_number') && /No data|N\\/A/.test(text)) ||
    cells.some(cell => /^No (matching )?records found/.test(cell.innerText));
  return {
    name: each.dataset.testChartName, kind, busy,
    error: alert ? alert.innerText : '', empty, drawn: mark !== undefined, text,
  };
})
"""


@dataclass(frozen=True)
class Chart:
    """A chart on the screen."""

    name: str
    kind: str
    busy: bool
    error: str
    empty: bool
    drawn: bool
    text: str

    @property
    def is_settled(self) -> bool:
        return not self.busy and (bool(self.error) or self.empty or self.drawn)

    @property
    def complaint(self) -> str:
        """What is wrong with it; "" if it shows a result."""
        if self.error:
            return f"{self.name}: {' '.join(self.error.split())[:200]}"
        if self.empty:
            return f"{self.name}: no results"
        return "" if self.drawn and not self.busy else f"{self.name} ({self.kind}): nothing drawn"


class Analyst:
    """Somebody at a browser who has logged in."""

    def __init__(self, browser: Browser, url: str, name: str, password: str) -> None:
        self.url = url
        context = browser.new_context(viewport=WINDOW, locale="en-GB", timezone_id="UTC")
        context.set_default_timeout(PATIENCE_MS)
        self.page: Page = context.new_page()
        self.posts: list[dict[str, Any]] = []  # what charts and filters have asked for
        self.underway: set[str] = set()  # what was asked for and is not answered
        self.troubles: list[str] = []  # what the browser complained of
        self.page.on("request", self._note)
        self.page.on("requestfinished", lambda request: self.underway.discard(request.url))
        self.page.on("requestfailed", self._note_failure)
        self.page.on("response", self._note_refusal)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("crash", lambda _: self.troubles.append("the page crashed"))
        self.page.goto(f"{url}/login/")
        self.page.fill("#username", name)
        self.page.fill("#password", password)
        self.page.click('[data-test="login-button"]')
        self.page.wait_for_url(re.compile("/welcome/"))

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
        """Go to a dashboard; its first tab is shown."""
        self.troubles.clear()
        try:
            self.page.goto(f"{self.url}/superset/dashboard/{slug}/")
            self.page.wait_for_selector('[data-test="dashboard-header-container"]')
            self.page.wait_for_selector(".chart-slice")
        except PlaywrightTimeout as late:
            self.page.screenshot(path=PICTURES / f"{slug}_not_shown.png")
            raise AssertionError(
                f"{slug} is not shown: waiting for {sorted(self.underway)}; troubles: {self.troubles}; {late}"
            ) from late

    def tabs(self) -> Iterator[str]:
        """Each tab of the dashboard in turn, shown; one without a name where there are none."""
        names = self.page.locator('[data-test="dashboard-component-tabs"] [role="tab"]').all_inner_texts()
        if not names:
            yield ""
        for name in names:
            self.show(name)
            yield name

    def show(self, tab: str) -> None:
        self.page.locator('[role="tab"]', has_text=re.compile(f"^{re.escape(tab)}$")).first.click()

    def look(self) -> list[Chart]:
        """The charts that are visible now, as they are."""
        found = self.page.locator(".chart-slice").evaluate_all(_LOOK)
        return [Chart(**{**each, "name": each["name"] or "", "text": each["text"] or ""}) for each in found]

    def settled(self) -> list[Chart]:
        """The visible charts, once each shows a result or says why not; or as they are when patience ends."""
        found: list[Chart] = []

        def all_settled() -> bool:
            found[:] = self.look()
            return bool(found) and all(chart.is_settled for chart in found)

        with suppress(AssertionError):
            self.until(all_settled, "every chart shows something")
        return found

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until what a person would wait for is so. The browser works meanwhile."""
        for _ in range(PATIENCE_MS // 250):
            if holds():
                return
            self.page.wait_for_timeout(250)
        raise AssertionError(f"after {PATIENCE_MS // 1000} s it is not so that {what}")

    def picture(self, file: Path) -> None:
        """What is on the screen, once nothing moves any more, without the empty rest of the tall window."""
        bottom = self.page.evaluate(
            "Math.max(...[...document.querySelectorAll('.chart-slice')].filter(e => e.offsetParent)"
            ".map(e => e.getBoundingClientRect().bottom)) + 24"
        )
        clip = {"x": 0, "y": 0, "width": WINDOW["width"], "height": min(bottom, WINDOW["height"])}
        shots = [self.page.screenshot(clip=clip)]

        def is_still() -> bool:
            shots.append(self.page.screenshot(clip=clip))
            return shots[-1] == shots[-2]

        self.until(is_still, "the picture is still")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(shots[-1])

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
