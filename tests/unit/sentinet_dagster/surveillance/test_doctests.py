"""Every example in the docstrings of the judgement is true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from sentinet_dagster import surveillance

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(surveillance.__path__, f"{surveillance.__name__}.")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
