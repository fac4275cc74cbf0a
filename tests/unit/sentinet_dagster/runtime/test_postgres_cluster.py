from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sentinet_dagster.runtime.errors import ProcessFailed
from sentinet_dagster.runtime.postgres_binaries import Account
from sentinet_dagster.runtime.postgres_cluster import PostgresCluster, initial_settings

MYSELF = Account(os.geteuid(), os.getegid(), switch=False)


@pytest.mark.parametrize(
    ("gigabytes", "shared_buffers", "maintenance"),
    [(0.5, "64MB", "32MB"), (8, "512MB", "128MB"), (256, "2048MB", "512MB")],
)
def test_memory_settings_fit_the_machine(gigabytes: float, shared_buffers: str, maintenance: str) -> None:
    settings = initial_settings(int(gigabytes * 2**30))
    assert settings["shared_buffers"] == shared_buffers
    assert settings["maintenance_work_mem"] == maintenance


def test_two_clusters_have_two_titles(tmp_path: Path) -> None:
    assert PostgresCluster(tmp_path / "a").title != PostgresCluster(tmp_path / "b").title
    assert PostgresCluster(tmp_path / "a").title == PostgresCluster(tmp_path / "x" / ".." / "a").title


def fake_initdb(folder: Path, script: str) -> Path:
    program = folder / "initdb"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return folder


def test_a_failed_initdb_leaves_no_data_and_its_words(tmp_path: Path) -> None:
    cluster = PostgresCluster(tmp_path / "postgres")
    binaries = fake_initdb(tmp_path, 'mkdir -p "${1#--pgdata=}"; echo "no space left" >&2; exit 7')
    with cluster.exclusive(), pytest.raises(ProcessFailed) as failure:
        cluster.create(binaries, MYSELF)
    assert str(failure.value) == "initdb ended with 7\nno space left"
    assert not cluster.exists()


def test_the_password_is_generated_once_and_nobody_else_reads_it(tmp_path: Path) -> None:
    cluster = PostgresCluster(tmp_path / "postgres")
    binaries = fake_initdb(tmp_path, "exit 1")
    passwords = set()
    for _ in range(2):
        with cluster.exclusive(), pytest.raises(ProcessFailed):
            cluster.create(binaries, MYSELF)
        passwords.add(cluster.password())
    (password,) = passwords
    assert len(password) >= 32
    assert stat.S_IMODE((tmp_path / "postgres" / "password").stat().st_mode) == 0o600
    assert [path for path in tmp_path.rglob("*") if path.name == "password.once"] == []
    assert not PostgresCluster(tmp_path / "other").exists()
