"""The examples in the docstrings of the code location's pure modules hold."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from sentinet_dagster import partitions, queries, settings
from sentinet_dagster.quality import expectations


@pytest.mark.parametrize(
    "module", [partitions, queries, settings, expectations], ids=lambda module: module.__name__
)
def test_examples_hold(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0
