from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sentinet_dagster.runtime.database import SQL
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.migrations import Applied, Migration, pending, read_migrations

ONE = Migration("0001", "create_a", "create table a ();", "11")
TWO = Migration("0002", "create_b", "create table b ();", "22")


def test_the_projects_own_are_read_in_order() -> None:
    migrations = read_migrations(SQL / "migrations")
    assert [migration.version for migration in migrations] == [
        f"{n:04}" for n in range(1, len(migrations) + 1)
    ]
    assert migrations[0].name == "create_schemas"


def test_a_file_becomes_a_migration(tmp_path: Path) -> None:
    content = b"select 'caf\xc3\xa9';\n"
    (tmp_path / "0001_create_cafe.sql").write_bytes(content)
    assert read_migrations(tmp_path) == (
        Migration("0001", "create_cafe", content.decode(), hashlib.sha256(content).hexdigest()),
    )


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([], "holds no migrations"),
        (["1_create_a.sql"], r"1_create_a\.sql is not a migration: name it like"),
        (["0001_Create.sql"], "is not a migration"),
        (["0002_create_b.sql"], "does not follow: migration 0001 is expected next"),
        (["0001_create_a.sql", "0003_create_c.sql"], "does not follow: migration 0002"),
        (["0001_create_a.sql", "0001_create_b.sql"], "0001_create_b.sql does not follow"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path, names: list[str], complaint: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=complaint):
        read_migrations(tmp_path)


def test_pending_is_what_the_database_lacks() -> None:
    assert pending((ONE, TWO), ()) == (ONE, TWO)
    assert pending((ONE, TWO), (Applied("0001", "create_a", "11"),)) == (TWO,)
    assert pending((ONE,), (Applied("0001", "create_a", "11"),)) == ()


def test_a_newer_database_is_refused_by_name() -> None:
    with pytest.raises(
        UserError, match=r"newer than this Sentinet: it has migration 0002_create_b.*end with 0001_"
    ):
        pending((ONE,), (Applied("0001", "create_a", "11"), Applied("0002", "create_b", "22")))


def test_an_edited_migration_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="migration 0001_create_a was edited after it was applied"):
        pending((ONE, TWO), (Applied("0001", "create_a", "other"),))
