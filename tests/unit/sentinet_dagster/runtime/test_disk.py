"""What is taken of a disk."""

from __future__ import annotations

from pathlib import Path

from sentinet_dagster.runtime.disk import used_bytes


def test_all_files_below_count_and_a_folder_that_is_not_there_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "deep" / "er"):
        (place / "file").write_bytes(b"x" * 10_000)
    assert 20_000 <= used_bytes(tmp_path) <= 40_000  # whole blocks of the disk
    assert used_bytes(tmp_path / "gone") == 0
