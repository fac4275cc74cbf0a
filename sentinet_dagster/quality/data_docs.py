"""The first page of Great Expectations' Data Docs, readable without the internet.

What lives here: a plain table at its head, with what is broken and a link to each suite's page. What never
does: the pages themselves. GX's own index is drawn by scripts and styles that a browser fetches from public
servers: on a machine without them it is an empty page that leads nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

from sentinet_dagster.quality.checking import CheckResult

__all__ = ["add_summary"]

_BODY: Final = re.compile(r"<body[^>]*>")
_STYLE: Final = "font-family:sans-serif;margin:24px;text-align:left;border-spacing:16px 4px"


def add_summary(html: Path, results: Sequence[CheckResult], heading: str) -> None:
    """Put the table at the head of `html/index.html`, which GX has written.

    Args:
        html: the folder of the Data Docs; links are to pages in it.
        results: of every suite, one after the other.
        heading: what was checked, for a person.
    """
    index = html / "index.html"
    rows = "".join(
        _row(html, relation, list(found)) for relation, found in groupby(results, key=lambda r: r.relation)
    )
    table = (
        f'<table style="{_STYLE}"><caption style="text-align:left"><b>{escape(heading)}</b></caption>'
        f"<tr><th>relation<th>rows<th>expectations<th>broken</tr>{rows}</table>"
    )
    page = index.read_text(encoding="utf-8")
    index.write_text(_BODY.sub(lambda body: body[0] + table, page, count=1), encoding="utf-8")


def _row(html: Path, relation: str, results: Sequence[CheckResult]) -> str:
    page = next((html / "validations" / Path(*relation.split("."))).rglob("*.html")).relative_to(html)
    rows = results[0].rows
    return (
        f'<tr><td><a href="{escape(page.as_posix())}">{escape(relation)}</a>'
        f"<td>{'' if rows is None else f'{rows:,}'}<td>{len(results)}"
        f"<td>{'<br>'.join(_broken(results)) or 'none'}</tr>"
    )


def _broken(results: Sequence[CheckResult]) -> Iterator[str]:
    for each in results:
        if not each.passed:
            told = each.error or f"{each.failing:,} failing"
            yield f"{each.severity.value}: {escape(each.expectation)}, {escape(told)}"
