from __future__ import annotations

from pathlib import Path

from sentinet_dagster.runtime.logs import TAIL_BYTES, log_tail, rotate


def test_the_tail_is_the_last_lines_since_a_byte(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert log_tail(log) == ""
    log.write_text("before\none\ntwo\nthree\n")
    assert log_tail(log, start=7, lines=2) == "two\nthree"
    assert log_tail(log, start=7, lines=9) == "one\ntwo\nthree"


def test_the_tail_of_a_huge_log_is_short_and_survives_broken_text(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"\xff" * 10 * TAIL_BYTES + b"\nend\n")
    tail = log_tail(log)
    assert tail.endswith("\nend")
    assert len(tail) <= TAIL_BYTES


def test_a_log_is_rotated_by_size_and_few_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    rotate(log)
    for generation in range(5):
        log.write_text(str(generation) * 11)
        rotate(log, above_bytes=10, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log.1", "x.log.2"]
    assert (tmp_path / "x.log.1").read_text() == "4" * 11
    assert (tmp_path / "x.log.2").read_text() == "3" * 11
    log.write_text("small")
    rotate(log, above_bytes=10, keep=2)
    assert log.read_text() == "small"
