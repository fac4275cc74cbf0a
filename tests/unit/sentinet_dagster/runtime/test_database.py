from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sentinet_dagster.runtime.database import Chunks, prepare
from sentinet_dagster.runtime.errors import UserError


def test_chunks_come_from_the_environment() -> None:
    assert Chunks.from_environment({}) == Chunks(timedelta(hours=1), timedelta(days=1))
    environ = {"SENTINET_FACT_CHUNK_HOURS": "4", "SENTINET_JUDGEMENT_CHUNK_HOURS": "48"}
    assert Chunks.from_environment(environ) == Chunks(timedelta(hours=4), timedelta(days=2))


@pytest.mark.parametrize("text", ["0", "-1", "1h", "1.5", "٣"])
def test_a_chunk_that_is_no_span_is_named(text: str) -> None:
    with pytest.raises(
        UserError, match=r"^SENTINET_FACT_CHUNK_HOURS='.*' is not a span: write whole hours, such as 1$"
    ):
        Chunks.from_environment({"SENTINET_FACT_CHUNK_HOURS": text})


def test_a_wrong_configuration_is_told_before_the_database_is_touched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"venues\.yaml is missing"):
        prepare("postgresql://nobody@127.0.0.1:1/none", tmp_path)
