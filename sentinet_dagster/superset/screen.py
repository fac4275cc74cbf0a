"""What a person sees of a dashboard, by Playwright and a Chromium that is installed. [IO]

What lives here: logging in, dashboards and tabs, charts as they are on the screen, waiting for them, a
picture. What never does: what a chart should show, which Superset (`target.py`), where pictures go
(`pictures.py`).

Superset keeps the charts of a tab that was left in the document, and draws a chart when it comes into view:
only what is visible counts, in a window that is as tall as a page. Waits are for what is shown, never for a
time. Importing this needs Playwright, of the extra `screenshots`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, FloatRect, Page, ViewportSize, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

__all__ = ["NotShown", "Shown", "Viewer", "open_browser"]

_WINDOW: Final[ViewportSize] = {"width": 1600, "height": 3600}
_MARGIN: Final = 24
_STEP_MS: Final = 250
# A Chromium which asks nobody for anything.
_FLAGS: Final = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip

# A chart as it is now: what it shows, and whether that is a result. What is looked for depends on the kind:
# an empty chart has a frame, too.
_LOOK: Final = """
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
    name: each.dataset.testChartName || '', kind, busy,
    error: alert ? alert.innerText : '', empty, drawn: mark !== undefined, text: text || '',
  };
})
"""
_BOTTOM: Final = """
Math.max(...[...document.querySelectorAll('.chart-slice')].filter(each => each.offsetParent)
  .map(each => each.getBoundingClientRect().bottom))
"""


class NotShown(Exception):
    """What should be seen is not, however long one waits. The message says what."""


@dataclass(frozen=True, slots=True)
class Shown:
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
        """Whether it shows a result, or says why not."""
        return not self.busy and (bool(self.error) or self.empty or self.drawn)

    @property
    def complaint(self) -> str:
        """What is wrong with it; "" if it shows a result."""
        if self.error:
            return f"{self.name}: {' '.join(self.error.split())[:200]}"
        if self.empty:
            return f"{self.name}: no results"
        return "" if self.drawn and not self.busy else f"{self.name} ({self.kind}): nothing drawn"


@contextmanager
def open_browser(program: Path) -> Iterator[Browser]:
    """A Chromium until the block ends, in its sandbox unless root starts it, which Chromium refuses.
    Playwright's own browsers are not downloaded.

    Raises:
        playwright.sync_api.Error: the program does not start.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=_FLAGS, chromium_sandbox=os.geteuid() != 0
        )
        try:
            yield browser
        finally:
            browser.close()


class Viewer:
    """Somebody at a browser."""

    def __init__(self, browser: Browser, url: str, patience_s: float) -> None:
        self.url = url
        self.patience_s = patience_s
        context = browser.new_context(viewport=_WINDOW, locale="en-GB", timezone_id="UTC")
        context.set_default_timeout(patience_s * 1000)
        # The login page tells of itself as nobody; the answer brings nobody's session, late: it ends ours.
        context.route("**/superset/log/**", lambda route: route.abort())
        self.page: Page = context.new_page()

    def log_in(self, name: str, password: str) -> None:
        """As a user of Superset's own list."""
        self.page.goto(f"{self.url}/login/")
        self.page.fill("#username", name)
        self.page.fill("#password", password)
        self.page.click('[data-test="login-button"]')
        self.page.wait_for_url(re.compile("/welcome/"))

    def open(self, slug: str) -> None:
        """Go to a dashboard; its first tab is shown. Raises NotShown: it is not there, or shows no chart."""
        self.page.goto(f"{self.url}/superset/dashboard/{slug}/")
        try:
            self.page.wait_for_selector('[data-test="dashboard-header-container"]')
            self.page.wait_for_selector(".chart-slice")
        except PlaywrightTimeout:
            raise NotShown(
                f"the dashboard {slug} shows no chart: `sentinet dashboards publish` puts it there"
            ) from None

    def tabs(self) -> Iterator[str]:
        """Each tab of the dashboard in turn, shown; one without a name where there are none."""
        names = self.page.locator('[data-test="dashboard-component-tabs"] [role="tab"]').all_inner_texts()
        if not names:
            yield ""
        for name in names:
            self.show(name)
            yield name

    def show(self, tab: str) -> None:
        """Open a tab."""
        self.page.locator('[role="tab"]', has_text=re.compile(f"^{re.escape(tab)}$")).first.click()

    def look(self) -> list[Shown]:
        """The charts that are visible now, as they are."""
        return [Shown(**each) for each in self.page.locator(".chart-slice").evaluate_all(_LOOK)]

    def settled(self) -> list[Shown]:
        """The visible charts, once each shows a result or says why not; or as they are when patience ends."""
        found: list[Shown] = []

        def all_settled() -> bool:
            found[:] = self.look()
            return bool(found) and all(chart.is_settled for chart in found)

        with suppress(NotShown):
            self.until(all_settled, "every chart shows something")
        return found

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until what a person would wait for is so. The browser works meanwhile. Raises NotShown."""
        deadline = time.monotonic() + self.patience_s
        while not holds():
            if time.monotonic() > deadline:
                raise NotShown(f"after {self.patience_s:g} s it is not so that {what}")
            self.page.wait_for_timeout(_STEP_MS)

    def picture(self) -> bytes:
        """A PNG of the screen, once nothing moves any more, without the empty rest of the tall window.

        Raises:
            NotShown: something moves all the time.
        """
        bottom = self.page.evaluate(_BOTTOM) + _MARGIN
        clip: FloatRect = {
            "x": 0,
            "y": 0,
            "width": _WINDOW["width"],
            "height": min(bottom, _WINDOW["height"]),
        }
        shot = b""

        def is_still() -> bool:
            nonlocal shot
            before, shot = shot, self.page.screenshot(clip=clip)
            return before == shot

        self.until(is_still, "the picture is still")
        return shot
