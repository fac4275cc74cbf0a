"""What the dbt project consists of, as values: models with their columns and parents, tests.

What lives here: the form of `catalogue.json`, which `translation.py` writes and everybody else reads. What
never does: dbt, Dagster's objects, making the file (`project.py`).
"""

from __future__ import annotations

import msgspec

__all__ = ["Catalogue", "Column", "Model", "Test", "decode", "encode"]

Key = tuple[str, ...]


class Column(msgspec.Struct, frozen=True):
    """A column and its meaning."""

    name: str
    meaning: str


class Model(msgspec.Struct, frozen=True):
    """A relation of schema rollup."""

    name: str
    key: Key  # its asset
    parents: tuple[Key, ...]
    group: str
    description: str
    kinds: tuple[str, ...]
    owners: tuple[str, ...]
    code_version: str | None
    columns: tuple[Column, ...]
    is_continuous: bool  # has rows of its own that must be kept up to date; else it is a view


class Test(msgspec.Struct, frozen=True):
    """A data test: what must hold of a model's rows."""

    name: str
    unique_id: str  # dbt's
    asset: Key
    other_assets: tuple[Key, ...]  # that it looks at, too


class Catalogue(msgspec.Struct, frozen=True):
    """Models come after those they stand on."""

    models: tuple[Model, ...]
    tests: tuple[Test, ...]


def encode(catalogue: Catalogue) -> bytes:
    """As JSON."""
    return msgspec.json.format(msgspec.json.encode(catalogue), indent=1)


def decode(text: bytes) -> Catalogue:
    """The inverse of `encode`.

    Raises:
        msgspec.ValidationError: the text is of another version.
    """
    return msgspec.json.decode(text, type=Catalogue)
