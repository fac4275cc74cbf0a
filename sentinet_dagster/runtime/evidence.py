"""An alert's evidence in one line: the numbers a person asks for first. Pure; all of it is in the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

_MOST_ITEMS = 6


def evidence_line(evidence: Mapping[str, object]) -> str:
    """`name value · name value …` of numbers, words and short lists; nested objects are left to the JSON.

    >>> evidence_line({"price_z": 4.1234567, "price": 61204.1, "window": {"start": 1}, "reason": None})
    'price z 4.123 · price 61,204.10'
    """
    items = [
        f"{name.replace('_', ' ')} {text}"
        for name, value in evidence.items()
        if (text := _text(value)) is not None
    ]
    return " · ".join(items[:_MOST_ITEMS])


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
