from __future__ import annotations

from pathlib import Path

from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres, Server


def test_a_url_carries_the_password_and_a_repr_does_not() -> None:
    server = Server(port=5432, pid=1, adopted=False, password="a/b@c")
    assert server.url() == "postgresql://sentinet:a%2Fb%40c@127.0.0.1:5432/sentinet"
    assert server.url("sentinet_dagster").endswith("/sentinet_dagster")
    assert "a/b@c" not in repr(server)


def test_where_nothing_is_nothing_runs_and_nothing_is_made(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres", tmp_path / "postgres.log")
    assert postgres.running() is None
    assert postgres.stop() is False
    assert list(tmp_path.iterdir()) == []
