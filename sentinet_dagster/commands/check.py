"""`sentinet check`: whether facts, windows, alerts and sums hold what is expected of them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentinet_dagster.commands.console import EXIT_NO, JsonOption, parse_time, print_json
from sentinet_dagster.runtime.errors import UserError

if TYPE_CHECKING:
    from sentinet_dagster.runtime.quality_check import QualityReport


def check(
    span: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="START/END",
            help="What to check: 2026-01-31T12:00Z/2026-01-31T13:00Z, or 2h/0s (ago). "
            "Without it, the day up to the newest that was received.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write Great Expectations' Data Docs there.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Hold a range of every relation against its suite; exit 1 where an error is broken, not a warning.

    Facts that break one are set aside: they stay, and their windows are judged again without them.
    """
    wanted = parse_range(span, datetime.now(UTC)) if span else None
    from sentinet_dagster.commands.database import open_database
    from sentinet_dagster.runtime.quality_check import check_quality

    with open_database() as url:
        _require_migrations(url)
        report = check_quality(url, wanted, html)
    if as_json:
        print_json(_as_json(report, html))
    else:
        _print(report, html)
    return EXIT_NO if report.errors else 0


def parse_range(text: str, now: datetime) -> tuple[datetime, datetime]:
    """Two times, the later last.

    Raises:
        UserError: it is none; the message shows the accepted form.
    """
    first, slash, last = text.partition("/")
    start, end = (parse_time(first, now), parse_time(last, now)) if slash else (now, now)
    if start >= end:
        raise UserError(
            f"--range {text!r} is no range: write 2026-01-31T12:00Z/2026-01-31T13:00Z, "
            "or 2h/0s for the last two hours"
        )
    return start, end


def _require_migrations(url: str) -> None:
    from sentinet_dagster.commands.database import is_empty
    from sentinet_dagster.runtime.database_url import connect, without_password

    with connect(url, autocommit=True) as connection:
        if is_empty(connection):
            raise UserError(f"{without_password(url)} is empty: run `sentinet migrate`")


def _as_json(report: QualityReport, html: Path | None) -> dict[str, Any]:
    return {
        "range": [report.start, report.end],
        "passed": not report.errors,
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "set_aside": report.passed.set_aside,
        "judged_again": report.passed.lifted,
        "html": None if html is None else str(html.absolute() / "index.html"),
        "results": [
            {
                "relation": each.relation,
                "expectation": each.expectation,
                "severity": each.severity.value,
                "passed": each.passed,
                "failing": each.failing,
                "rows": each.rows,
                "keys": list(each.keys),
                "error": each.error,
            }
            for each in report.results
        ],
    }


def _print(report: QualityReport, html: Path | None) -> None:
    """What is broken, a line each with the first key, whole however narrow the terminal; then the sums."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for each in (*report.errors, *report.warnings):
        first = each.error or (", ".join(f"{k}={v}" for k, v in each.keys[0].items()) if each.keys else "")
        colour = "red" if each.is_error else "yellow"
        told = f" {each.relation} {each.expectation}: {each.failing:,}, first: {first}"
        console.print(Text.assemble((f"{each.severity.value:<8}", colour), told))
    console.print(
        f"{len(report.results)} expectations from {report.start:%Y-%m-%d %H:%M:%S} "
        f"to {report.end:%Y-%m-%d %H:%M:%S}: "
        f"{len(report.errors)} broken with severity error, {len(report.warnings)} with warning; "
        f"{report.passed.set_aside} facts set aside."
    )
    if html is not None:
        console.print(f"Data Docs: {html.absolute() / 'index.html'}")
