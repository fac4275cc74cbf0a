"""An alert's evidence in one line: the numbers a person asks for first. Pure; all of it is in the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

_MOST_ITEMS = 5


def evidence_line(evidence: Mapping[str, Any]) -> str:
    """The numbers that fired, then how many ticks they stand on, and what is not whole about them.

    Args:
        evidence: as in `surveillance.alerts.evidence`: `numbers`, `ticks`, `completeness`, `downgraded`.

    >>> evidence_line({"numbers": {"price_z": 4.12345, "price": 61204.1}, "ticks": {"trade": 41}})
    'price z 4.123 · price 61,204.10 · ticks 41'
    """
    items = [
        f"{name.replace('_', ' ')} {text}"
        for name, value in evidence.get("numbers", {}).items()
        if (text := _text(value)) is not None
    ]
    shown = items[:_MOST_ITEMS]
    if evidence.get("ticks"):
        shown.append("ticks " + "/".join(str(count) for count in evidence["ticks"].values()))
    if evidence.get("downgraded"):
        shown.append(str(evidence["downgraded"]))
    return " · ".join(shown)


def _text(value: object) -> str | None:
    match value:
        case bool() | None | dict():
            return None
        case int():
            return str(value)
        case float():
            return _figures(value)
        case str():
            return _moment(value) or value
        case list() if 0 < len(value) <= 3:
            parts = [_text(item) for item in value]
            return None if None in parts else "/".join(part for part in parts if part)
    return None


def _figures(value: float) -> str:
    """Four significant figures, and never fewer than the integer part."""
    return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.4g}"


def _moment(text: str) -> str | None:
    """`2026-01-31T12:00:05Z` → `12:00:05`."""
    if len(text) < 19 or text[4] != "-":
        return None
    try:
        return f"{datetime.fromisoformat(text):%H:%M:%S}"
    except ValueError:
        return None
