"""What tests stand on: a real PostgreSQL server, a fresh migrated database for each test, shared recordings.

Tests of a database run twice: on the embedded PostgreSQL and on a real TimescaleDB (`timescale_tree.py`, its
Apache edition; skipped with the reason where it cannot run), and a third time on a server of the community
edition where SENTINET_TEST_COMMUNITY_URL (a superuser's URL) leads to one. SENTINET_TEST_DATABASE_URL
replaces all of them. What only the community edition can pass takes the fixture `community_database_url`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import structlog
from psycopg import sql

from sentinet_dagster.runtime import guard
from sentinet_dagster.runtime.database import migrate
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres
from sentinet_dagster.storage import Retention, load_storage
from tests import timescale_tree

REPOSITORY = Path(__file__).resolve().parents[1]

# The code location keeps there what dbt has parsed; from one test session to the next, and in no checkout.
_CACHE = Path(os.environ.get("SENTINET_TEST_CACHE", Path("~/.cache/sentinet").expanduser()))
os.environ.setdefault("SENTINET_HOME", str(_CACHE / "home"))


@pytest.fixture(autouse=True)
def unset_logging() -> Iterator[None]:
    """A command that a test runs in this process says where logs go, for the whole process."""
    yield
    structlog.reset_defaults()


@dataclass(frozen=True)
class PostgresServer:
    """A server with a superuser: make databases, drop them."""

    admin_url: str

    def url(self, database: str) -> str:
        return urlunsplit(urlsplit(self.admin_url)._replace(path="/" + database))

    def create(self, template: str | None = None) -> str:
        """A new database; its name."""
        name = f"test_{uuid.uuid4().hex[:16]}"
        statement = sql.SQL("create database {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" template {}").format(sql.Identifier(template))
        self._execute(statement)
        return name

    def seal(self, database: str) -> None:
        """Let nobody in any more: a template must not be in use, not even by a background worker."""
        self._execute(
            sql.SQL("alter database {} with allow_connections false").format(sql.Identifier(database)),
            sql.SQL("select pg_terminate_backend(pid) from pg_stat_activity where datname = {}").format(
                sql.Literal(database)
            ),
        )

    def copy(self, database: str) -> str:
        """A new database with all that is in this one; whoever is connected to it is thrown out."""
        self.seal(database)
        copied = self.create(template=database)
        self._execute(
            sql.SQL("alter database {} with allow_connections true").format(sql.Identifier(database))
        )
        return copied

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        """The URL of a new database, which is there until the block ends."""
        name = self.create(template)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    @contextmanager
    def template(self, fill: Callable[[str], object], of: str | None = None) -> Iterator[str]:
        """The name of a database to make others of, until the block ends. `fill` is given its URL."""
        name = self.create(of)
        try:
            fill(self.url(name))
            self.seal(name)
            yield name
        finally:
            self.drop(name)

    def drop(self, database: str) -> None:
        self._execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database)))

    def _execute(self, *statements: sql.Composed) -> None:
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


COMMUNITY = "SENTINET_TEST_COMMUNITY_URL"
# Facts of the tests are years old, and a policy of the community edition may run at any moment.
KEPT_FOR_EVER = load_storage(
    {"columnstore_after": "forever", "retention": dict.fromkeys(Retention.model_fields, "forever")}
)


def _servers() -> list[str]:
    """Every test of a database runs on each: PostgreSQL from a wheel, and a real TimescaleDB."""
    if "SENTINET_TEST_DATABASE_URL" in os.environ:
        return ["given"]
    return ["embedded", "timescaledb", *(["community"] if os.environ.get(COMMUNITY) else [])]


@pytest.fixture(scope="session", params=_servers())
def postgres_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresServer]:
    if request.param == "given":
        yield PostgresServer(os.environ["SENTINET_TEST_DATABASE_URL"])
    elif request.param == "community":
        yield PostgresServer(os.environ[COMMUNITY])
    elif request.param == "embedded":
        with _embedded(tmp_path_factory.mktemp("postgres")) as url:
            yield PostgresServer(url)
    else:
        try:
            tree = timescale_tree.build_tree()
        except timescale_tree.CannotRunError as reason:
            pytest.skip(f"no TimescaleDB: {reason}")
        with timescale_tree.run_server(tree) as server, _ended_with_tests(server.pid):
            yield PostgresServer(server.url)


@contextmanager
def _embedded(home: Path) -> Iterator[str]:
    # These databases live as long as the tests: nothing to keep over a power cut.
    unsafe = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    embedded = EmbeddedPostgres(home / "postgres", home / "postgres.log", settings=unsafe)
    try:
        server = embedded.start()
        with _ended_with_tests(server.pid):
            yield server.url("postgres")
    finally:
        embedded.destroy()


@contextmanager
def _ended_with_tests(pid: int) -> Iterator[None]:
    """The server outlives its owner by design; not this one, not even a killed test run."""
    with subprocess.Popen([sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE) as watcher:
        assert watcher.stdin is not None
        watcher.stdin.write(f"+{pid}\n".encode())
        watcher.stdin.flush()
        yield
        watcher.stdin.write(f"-{pid}\n".encode())


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.template(lambda url: migrate(url, KEPT_FOR_EVER)) as name:
        yield name


@pytest.fixture
def database_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database of the test's own, migrated, without a row."""
    with postgres_server.database(migrated_template) as url:
        yield url


@pytest.fixture
def second_database_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """Another like it, to compare the two."""
    with postgres_server.database(migrated_template) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of the test's own in which nothing is."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def community_database_url() -> Iterator[str]:
    """An empty database on a server of TimescaleDB's community edition."""
    if not os.environ.get(COMMUNITY):
        pytest.skip(f"no community edition of TimescaleDB at hand: set {COMMUNITY}")
    with PostgresServer(os.environ[COMMUNITY]).database() as url:
        yield url


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real recordings and messages, kept beside the checkout and never in it."""
    shared = Path(os.environ.get("SENTINET_SHARED", REPOSITORY.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"no shared data at {shared}: set SENTINET_SHARED")
    return shared / "data"
