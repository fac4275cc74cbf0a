"""Every frame that goes into this package or comes out of it: columns in order, dtype, unit, meaning.

What lives here: the relations as polars schemas, a file for each kind. What never does: arithmetic, reading,
writing.

A relation has the columns of its table in `sql/migrations/`, in the same order, without those that only the
database writes (`computed_at`, `created_at`, `changed_at`, `recorded_at`, what became of an alert) and
without the bytes of a refused frame. A test keeps the two equal. Conventions, for every relation

    time columns    Datetime("us", "UTC"); windows are [window_start, window_start + 5 s)
    prices          in the instrument's quote currency; sizes in its base currency
    *_bps           basis points, 1e-4
    *_z             standard deviations from the mean of the instrument's own past; null while that is too
    short
    uuid            String, the canonical 36 characters; jsonb: String
    null            not known; it is never 0
"""

from __future__ import annotations

from typing import Final

from sentinet_dagster.surveillance.schema.alerts import (
    ALERT_SPANS,
    ALERTS,
    FINDINGS,
    FIRINGS,
    INCIDENTS,
    KNOWN_INCIDENTS,
    SESSIONS,
    STANDING,
    VERDICTS,
)
from sentinet_dagster.surveillance.schema.facts import (
    BOOK_FLOWS,
    BOOKS,
    FEED_GAPS,
    INSTRUMENTS,
    QUOTES,
    REFERENCE_PRICES,
    REJECTED_FRAMES,
    TRADES,
)
from sentinet_dagster.surveillance.schema.judgement import (
    CORRELATIONS,
    FEATURES,
    PAST_WINDOWS,
    SCORES,
    WINDOWS,
)
from sentinet_dagster.surveillance.schema.relation import TIME, WINDOW, WINDOW_US, Column, Relation

__all__ = [
    "ALERTS",
    "ALERT_SPANS",
    "BOOKS",
    "BOOK_FLOWS",
    "CORRELATIONS",
    "FEATURES",
    "FEED_GAPS",
    "FINDINGS",
    "FIRINGS",
    "INCIDENTS",
    "INSTRUMENTS",
    "KNOWN_INCIDENTS",
    "PAST_WINDOWS",
    "QUOTES",
    "REFERENCE_PRICES",
    "REJECTED_FRAMES",
    "RELATIONS",
    "SCORES",
    "SESSIONS",
    "STANDING",
    "TIME",
    "TRADES",
    "VERDICTS",
    "WINDOW",
    "WINDOWS",
    "WINDOW_US",
    "Column",
    "Relation",
]

RELATIONS: Final = (
    INSTRUMENTS,
    TRADES,
    QUOTES,
    BOOKS,
    BOOK_FLOWS,
    REFERENCE_PRICES,
    FEED_GAPS,
    REJECTED_FRAMES,
    WINDOWS,
    FEATURES,
    CORRELATIONS,
    SCORES,
    FINDINGS,
    ALERTS,
    INCIDENTS,
)
"""Those that are stored."""
