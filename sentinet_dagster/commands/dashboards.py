"""`sentinet dashboards`: check the bundle, publish it to a Superset, take pictures of what that shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentinet_dagster.commands.console import EXIT_NO, JsonOption, print_json, say

if TYPE_CHECKING:
    from sentinet_dagster.runtime.home import Home
    from sentinet_dagster.superset.target import Target

app = typer.Typer(help="Check, publish and picture the dashboards.", rich_markup_mode=None)

_UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Where Superset answers; else SENTINET_SUPERSET_URL."),
]


@app.callback()
def _root() -> None:
    """Check, publish and picture the dashboards."""


@app.command("validate")
def validate(as_json: JsonOption = False) -> int:
    """Check every link dashboard → chart → dataset → relation → column; exit 1 if one is broken."""
    from sentinet_dagster.commands.database import open_database
    from sentinet_dagster.runtime import dashboards
    from sentinet_dagster.runtime.home import Home

    with open_database() as url:
        found = dashboards.problems(url, Home.from_environment(os.environ).path)
    if as_json:
        print_json({"problems": found})
    else:
        for problem in found:
            say(f"sentinet: {problem}")
        typer.echo(f"{len(found)} broken links." if found else "Every link leads somewhere.")
    return EXIT_NO if found else 0


@app.command("publish")
def publish(url: _UrlOption = None, as_json: JsonOption = False) -> None:
    """Make a Superset show the dashboards. SENTINET_SUPERSET_PASSWORD is its administrator's."""
    from sentinet_dagster.commands.database import open_database
    from sentinet_dagster.runtime import dashboards
    from sentinet_dagster.runtime.home import Home

    home = Home.from_environment(os.environ)
    with open_database() as database_url:
        published = dashboards.publish(find_target(home, url, database_url), database_url, home.path)
    if as_json:
        print_json({"dashboards": dict(published.dashboards), "charts": published.charts})
        return
    for address in published.dashboards.values():
        typer.echo(address)


@app.command("screenshot")
def screenshot(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the PNG files go.")],
    url: _UrlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Take a picture of every tab of every dashboard; exit 1 if a chart on one shows no result."""
    from sentinet_dagster.runtime import dashboards
    from sentinet_dagster.runtime.home import Home

    target = find_target(Home.from_environment(os.environ), url)
    pictures = []
    for picture in dashboards.screenshots(target, folder):
        pictures.append({"file": str(picture.file), "complaints": picture.complaints})
        for complaint in picture.complaints:
            say(f"sentinet: {picture.file.name}: {complaint}")
        if not as_json:
            typer.echo(picture.file)
    if as_json:
        print_json({"pictures": pictures})
    return EXIT_NO if any(each["complaints"] for each in pictures) else 0


def find_target(home: Home, url: str | None, database_url: str = "") -> Target:
    """What the environment names, else the home's own Superset if it runs.

    Args:
        home: where one may run.
        url: the one that is meant, if it is said.
        database_url: the product's database; who does not publish needs none.

    Raises:
        UserError: there is none, or something about it is missing.
    """
    from sentinet_dagster.runtime.errors import UserError
    from sentinet_dagster.runtime.state import read_state
    from sentinet_dagster.superset.target import Target, TargetError

    state = read_state(home) if home.owner() is not None else None
    running = dict(state.addresses) if state is not None else {}
    own = _superset_of(home, running, database_url) if url in (None, running.get("superset")) else {}
    told = {"SENTINET_DATABASE_URL": database_url, "SENTINET_DAGSTER_URL": running.get("dagster", "")}
    try:
        target = Target.from_environment(told | own | dict(os.environ), url)
    except TargetError as error:
        raise UserError(str(error)) from None
    if target is None:
        raise UserError(
            "no Superset: start one with `sentinet up --with-superset`, or name one with --url http://host:port"
        )
    return target


def _superset_of(home: Home, addresses: Mapping[str, str], product: str) -> dict[str, str]:
    """The variables that name the Superset that runs in the home; none if none does."""
    if "superset" not in addresses:
        return {}
    from sentinet_dagster.runtime.superset_server import READING, Secrets, database_url

    secrets = Secrets.of(home)
    own = not os.environ.get("SENTINET_DATABASE_URL", "").strip()
    reading = {READING: database_url(product, secrets, os.environ, own=own)} if product else {}
    return reading | {
        "SENTINET_SUPERSET_URL": addresses["superset"],
        "SENTINET_SUPERSET_PASSWORD": secrets.admin_password,
        "SENTINET_SUPERSET_ANALYST_PASSWORD": secrets.analyst_password,
    }
