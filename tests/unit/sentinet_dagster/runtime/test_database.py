from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sentinet_dagster.runtime.database import prepare, read_storage
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.storage import StorageSettings


def test_storage_comes_from_its_file(tmp_path: Path) -> None:
    assert read_storage(tmp_path) == StorageSettings()
    (tmp_path / "storage.yaml").write_text("chunks: {facts: 4 hours}\n")
    assert read_storage(tmp_path).chunks.facts == timedelta(hours=4)


def test_a_wrong_storage_file_is_named_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "storage.yaml").write_text("retention: {facts: a month}\n")
    with pytest.raises(
        UserError, match=r"storage\.yaml: retention\.facts is 'a month': expected a number of"
    ):
        read_storage(tmp_path)
    (tmp_path / "storage.yaml").write_text("retention: [\n")
    with pytest.raises(UserError, match=r"storage\.yaml: line 2, column 1: not YAML"):
        read_storage(tmp_path)


def test_a_wrong_configuration_is_told_before_the_database_is_touched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"venues\.yaml is missing"):
        prepare("postgresql://nobody@127.0.0.1:1/none", tmp_path)
