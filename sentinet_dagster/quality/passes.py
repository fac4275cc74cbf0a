"""A full pass as a whole: facts set aside, suites held by Great Expectations, results kept.

What lives here: that order, for everybody who makes such a pass. What never does: which range, who is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from sentinet_dagster.quality.checking import CheckResult, check_rows, store
from sentinet_dagster.quality.data_docs import add_summary
from sentinet_dagster.quality.expectations import Suite
from sentinet_dagster.quality.full_pass import full_pass

__all__ = ["Passed", "pass_in_full"]


@dataclass(frozen=True, slots=True)
class Passed:
    """What became of a pass. `set_aside` and `lifted` count facts that changed sides."""

    results: Sequence[CheckResult]
    set_aside: int
    lifted: int


def pass_in_full(
    connection: psycopg.Connection[Any],
    url: str,
    suites: Sequence[Suite],
    start: datetime,
    end: datetime,
    html: Path | None = None,
) -> Passed:
    """Hold [start, end) of each relation against its suite.

    Args:
        connection: of the database at `url`; commits, or is inside a transaction of the caller.
        url: for Great Expectations, which opens connections of its own.
        suites: of relations that are there.
        start, end: the range.
        html: where Data Docs go.

    Raises:
        FullPassUnavailable: the extra `quality` is not installed.
        OSError: the folder cannot be written.
    """
    # Only facts are set aside; of the others the pass itself says what their rows come to.
    facts = [suite for suite in suites if suite.row_id is not None]
    checked = [check_rows(connection, suite, start, end, is_judged=False) for suite in facts]
    if html is not None:
        html.mkdir(parents=True, exist_ok=True)
    results = full_pass(url, suites, start, end, html)
    if html is not None:
        add_summary(html, results, f"Checked: {start.isoformat(' ')} to {end.isoformat(' ')}")
    store(connection, "full", start, end, results)
    return Passed(results, sum(each.marked for each in checked), sum(each.lifted for each in checked))
