"""Checking, publishing and taking pictures of the dashboards, for commands and for the start of a service.

What lives here: opening the database, finding a browser, one line for what went wrong. What never does: the
checks, the API and the screen (`superset/`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sentinet_dagster.rollups.project import DbtFailed, RollupProject
from sentinet_dagster.runtime.database_url import connect, outages_told
from sentinet_dagster.runtime.errors import ProcessFailed, UserError
from sentinet_dagster.superset import release
from sentinet_dagster.superset.bundle import BundleError, read_bundle
from sentinet_dagster.superset.client import Superset, SupersetError, SupersetUnavailable
from sentinet_dagster.superset.publish import Published
from sentinet_dagster.superset.target import ANALYST_NAME, Target

if TYPE_CHECKING:
    from sentinet_dagster.superset.pictures import Picture

__all__ = ["problems", "publish", "screenshots"]

_PATIENCE_S: Final = 180.0
_CHROMIUMS: Final = ("chromium", "chromium-browser", "google-chrome")


def problems(database_url: str, home: Path) -> list[str]:
    """What is wrong with the bundle; each line begins with its path.

    Raises:
        UserError: the database cannot be asked, or the dbt project cannot be read.
    """
    try:
        with outages_told(database_url), connect(database_url, autocommit=True) as connection:
            return release.check(read_bundle(), connection, RollupProject(home))
    except BundleError as error:
        return [str(error)]
    except DbtFailed as error:
        raise UserError(str(error)) from None


def publish(target: Target, database_url: str, home: Path) -> Published:
    """Publish what was checked.

    Raises:
        UserError: Superset is not there, the database cannot be asked, or the bundle is broken.
        ProcessFailed: Superset refuses.
    """
    try:
        with outages_told(database_url), connect(database_url, autocommit=True) as connection:
            return release.release(target, connection, RollupProject(home))
    except (BundleError, DbtFailed, SupersetUnavailable) as error:
        raise UserError(str(error)) from None
    except SupersetError as error:
        raise ProcessFailed("superset", str(error)) from None


def screenshots(target: Target, folder: Path) -> Iterator[Picture]:
    """A picture of every tab of every dashboard, as the analyst sees it where their password is known, else
    as whoever publishes.

    Raises:
        UserError: Playwright or Chromium is missing, Superset is not there, or the folder cannot be written.
        ProcessFailed: Superset lets nobody in, or does not show a dashboard.
    """
    try:
        from playwright.sync_api import Error as BrowserError

        from sentinet_dagster.superset.pictures import take_pictures
        from sentinet_dagster.superset.screen import NotShown, Viewer, open_browser
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise UserError(
            f"pictures need {package}: install the extra, such as by `pip install 'sentinet[screenshots]'`"
        ) from None
    program = next(filter(None, map(shutil.which, _CHROMIUMS)), None)
    if program is None:
        raise UserError("pictures need Chromium: install it, such as with `apt-get install chromium`")
    user, password = target.user, target.password
    if target.analyst_password:
        user, password = ANALYST_NAME, target.analyst_password
    try:
        with Superset(target.url, user, password):
            pass  # the API says in a line why somebody is not let in; a browser, that a page did not come
        with open_browser(Path(program)) as browser:
            viewer = Viewer(browser, target.url, _PATIENCE_S)
            viewer.log_in(user, password)
            yield from take_pictures(viewer, read_bundle().dashboards, folder)
    except SupersetUnavailable as error:
        raise UserError(str(error)) from None
    except (SupersetError, NotShown, BrowserError) as error:
        raise ProcessFailed("superset", str(error).splitlines()[0]) from None
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}: want a folder that can be written") from None
