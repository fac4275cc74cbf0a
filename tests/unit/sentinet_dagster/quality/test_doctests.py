"""The examples in the docstrings of `quality` hold."""

from __future__ import annotations

import doctest

from sentinet_dagster.quality import expectations


def test_examples() -> None:
    failed, tried = doctest.testmod(expectations)
    assert tried > 0
    assert failed == 0
