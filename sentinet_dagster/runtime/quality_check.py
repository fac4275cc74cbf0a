"""`sentinet check`: the suites over a range, from outside of Dagster.

What lives here: which range, the pass, its report. What never does: rules, printing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg

from sentinet_dagster.quality.checking import CheckResult, existing
from sentinet_dagster.quality.full_pass import FullPassUnavailable
from sentinet_dagster.quality.passes import Passed, pass_in_full
from sentinet_dagster.quality.suites import SUITES
from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.errors import UserError

__all__ = ["QualityReport", "check_quality"]

DAY: Final = timedelta(days=1)
_RECEIVED: Final = "select max(max_received_at) from ops.ingest_batches"


@dataclass(frozen=True, slots=True)
class QualityReport:
    """What became of a pass over [start, end)."""

    start: datetime
    end: datetime
    passed: Passed

    @property
    def results(self) -> Sequence[CheckResult]:
        """Of every expectation, those that hold too."""
        return self.passed.results

    @property
    def errors(self) -> list[CheckResult]:
        """Broken, severity error; what could not be told is broken."""
        return [result for result in self.results if result.is_error]

    @property
    def warnings(self) -> list[CheckResult]:
        """Broken, severity warning."""
        return [result for result in self.results if not result.passed and not result.is_error]


def check_quality(
    url: str, span: tuple[datetime, datetime] | None = None, html: Path | None = None
) -> QualityReport:
    """Hold every relation that is there against its suite, set facts aside, keep the results.

    Args:
        url: of a database that is migrated.
        span: [start, end); None: the day up to the newest that was received.
        html: where Data Docs go.

    Raises:
        UserError: Great Expectations is not installed, nothing was received yet, or the folder cannot be
            written.
    """
    with connect(url, autocommit=True) as connection:
        start, end = span or _newest_day(connection)
        try:
            suites = existing(connection, SUITES.values())
            return QualityReport(start, end, pass_in_full(connection, url, suites, start, end, html))
        except FullPassUnavailable as error:
            raise UserError(str(error)) from error
        except OSError as error:
            raise UserError(f"{html} cannot be written: {error.strerror}") from error


def _newest_day(connection: psycopg.Connection[Any]) -> tuple[datetime, datetime]:
    row = connection.execute(_RECEIVED).fetchone()
    if row is None or row[0] is None:
        raise UserError("nothing was received yet: there is nothing to check")
    received: datetime = row[0]
    # Clocks differ: what was received last may be dated a little later.
    end = received.replace(microsecond=0) + timedelta(minutes=1)
    return end - DAY, end
