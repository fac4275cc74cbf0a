"""The dbt project on disk, its catalogue in a cache, and running dbt on a database.

What lives here: paths, fingerprints, dbt's environment and its processes. What never does: importing dbt.

    <SENTINET_HOME>/dbt/<fingerprint>/    what dbt has parsed: manifest.json, catalogue.json, partial parses

A fingerprint is of the project's files and of dbt's version. The folder is made by whoever needs it first,
whole or not at all, and goes when a newer one is made. `make install` leaves one in the environment, from
which homes copy theirs: parsing takes 5 s of CPU.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
from psycopg.conninfo import conninfo_to_dict

from sentinet_dagster.rollups import catalogue
from sentinet_dagster.rollups.catalogue import Catalogue

__all__ = ["PROJECT", "DbtFailed", "RollupProject", "SourceFreshness", "TestResult"]

PROJECT: Final = Path(__file__).resolve().parents[2] / "dbt_project"
INSTALLED: Final = Path(sys.prefix) / "share" / "sentinet"
_FILES: Final = frozenset({".sql", ".yml", ".md"})
_TAIL: Final = 1500  # characters of dbt's own words


class DbtFailed(Exception):
    """dbt did not do what it was asked for. The message has its words."""


class TestResult(msgspec.Struct, frozen=True):
    """What a test found. `failures` are rows; None where the test could not be run."""

    unique_id: str
    status: str  # pass, warn, fail, error
    failures: int | None = None
    message: str | None = None
    execution_time: float = 0.0


class _RunResults(msgspec.Struct, frozen=True):
    results: list[TestResult]


class SourceFreshness(msgspec.Struct, frozen=True):
    """How old the newest rows of a source are, held against its bounds."""

    unique_id: str  # source.<project>.<schema>.<table>
    status: str  # pass, warn, error; of a source that nothing was ever written to: error
    max_loaded_at: datetime  # when rows were committed last; the year 1: never

    @property
    def relation(self) -> str:
        """schema.table."""
        return ".".join(self.unique_id.split(".")[-2:])

    @property
    def loaded_at(self) -> datetime | None:
        """When rows were committed last; None: never."""
        return None if self.max_loaded_at.year == 1 else self.max_loaded_at


class _Sources(msgspec.Struct, frozen=True):
    results: list[SourceFreshness]


@dataclass(frozen=True, slots=True)
class RollupProject:
    """The project, with its cache under `home`."""

    home: Path
    source: Path = PROJECT
    installed: Path = INSTALLED

    @property
    def fingerprint(self) -> str:
        """Of all that decides what dbt makes of the project."""
        digest = hashlib.sha256(f"{version('dbt-core')} {version('dbt-postgres')}".encode())
        for path in sorted(path for path in self.source.rglob("*") if path.suffix in _FILES):
            digest.update(path.relative_to(self.source).as_posix().encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    @property
    def target(self) -> Path:
        """Where dbt's files of this version are."""
        return self.home / "dbt" / self.fingerprint

    def catalogue(self) -> Catalogue:
        """What the project consists of; parsed first where nobody has done that yet.

        Raises:
            DbtFailed: the project cannot be parsed, or the home cannot be written.
        """
        target = self.target
        try:
            return catalogue.decode((target / "catalogue.json").read_bytes())
        except FileNotFoundError:
            with self._alone():
                if not (target / "catalogue.json").exists():
                    self._make(target)
        return catalogue.decode((target / "catalogue.json").read_bytes())

    def run(self, url: str, *, role: str = "", fingerprint: str = "", full_refresh: bool = False) -> None:
        """Make the relations what the project says. Definitions that are in force already are left alone.

        Args:
            url: of the database, as a user who may create in schema rollup.
            role: whose the relations become; "": the user's.
            fingerprint: recorded in rollup.deployments when everything was made.
            full_refresh: rebuild everything, and let go of buckets whose facts are gone.

        Raises:
            DbtFailed: the database is away, or refuses.
        """
        self.catalogue()
        environment = {"SENTINET_DBT_FINGERPRINT": fingerprint}
        if role:
            # Not the profile's `role`: that is set in a transaction, and gone when it is rolled back.
            environment["PGOPTIONS"] = f"-c role={role}"
        with self._alone():
            self._dbt(["run", *(["--full-refresh"] if full_refresh else [])], url, environment, self.target)

    def test(self, url: str, selected: Sequence[str], target: Path) -> list[TestResult]:
        """Run tests; `target` is a folder of the caller's own.

        Args:
            url: of the database.
            selected: names of tests, or what else dbt selects by, such as `test_type:unit`.
            target: for dbt's files.

        Raises:
            DbtFailed: they could not be run at all. A test that fails is a result.
        """
        answer = self._ask(["test", "--select", *selected], url, target, "run_results.json")
        found = msgspec.json.decode(answer, type=_RunResults).results
        # Among the results are the hooks of the run.
        return [result for result in found if result.unique_id.startswith(("test.", "unit_test."))]

    def freshness(self, url: str, target: Path) -> list[SourceFreshness]:
        """How old the sources are that say how old they may be, by name; `target` as in `test`.

        Raises:
            DbtFailed: it could not be told. A stale source is a result.
        """
        answer = self._ask(["source", "freshness"], url, target, "sources.json")
        found = msgspec.json.decode(answer, type=_Sources).results
        return sorted(found, key=lambda source: source.relation)

    def document(self, url: str, folder: Path) -> Path:
        """Write dbt's documentation of the database's rollups into `folder`; the page, which needs no server.

        Raises:
            DbtFailed: the database is away.
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._dbt(["docs", "generate", "--static"], url, {}, folder)
        return folder / "static_index.html"

    def _ask(self, arguments: Sequence[str], url: str, target: Path, answer: str) -> bytes:
        """What dbt writes into its file `answer`; where it says something bad, dbt fails, too."""
        self.catalogue()
        shutil.copytree(self.target, target, dirs_exist_ok=True)
        (target / answer).unlink(missing_ok=True)
        try:
            self._dbt(arguments, url, {}, target)
        except DbtFailed:
            if not (target / answer).exists():
                raise
        return (target / answer).read_bytes()

    def _make(self, target: Path) -> None:
        """The folder `target`, whole, in the place of those of other versions."""
        scratch = target.with_name(f"{target.name}.{os.getpid()}")
        try:
            if (self.installed / "dbt" / target.name).is_dir():
                shutil.copytree(self.installed / "dbt" / target.name, scratch)
            else:
                self._parse(scratch)
            for other in target.parent.iterdir():
                if other.is_dir() and other != scratch:
                    shutil.rmtree(other, ignore_errors=True)
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _parse(self, target: Path) -> None:
        target.mkdir(parents=True)
        done = subprocess.run(  # noqa: S603 - our own program, no shell
            [sys.executable, "-m", "sentinet_dagster.rollups.translation", str(target)],
            env=self._environment(target),
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DbtFailed(f"the dbt project cannot be parsed: {_tail(done.stdout + done.stderr)}")

    def _dbt(self, arguments: Sequence[str], url: str, more: Mapping[str, str], target: Path) -> None:
        done = subprocess.run(  # noqa: S603 - our own program, no shell
            [os.fspath(Path(sys.executable).with_name("dbt")), "--quiet", "--warn-error", *arguments],
            env={**self._environment(target), **_connection(url), **more},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DbtFailed(f"dbt {arguments[0]} failed: {_tail(done.stdout + done.stderr)}")

    def _environment(self, target: Path) -> dict[str, str]:
        """dbt's settings. All state goes to `target`: the project's folder may be read-only."""
        return os.environ | {
            "DBT_PROJECT_DIR": str(self.source),
            "DBT_PROFILES_DIR": str(self.source),
            "DBT_TARGET_PATH": str(target),
            "DBT_LOG_PATH": str(target),
            "DBT_LOG_LEVEL_FILE": "none",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_VERSION_CHECK": "false",
        }

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time writes to the cache."""
        try:
            (self.home / "dbt").mkdir(parents=True, exist_ok=True)
            lock = (self.home / "dbt" / "lock").open("a")
        except OSError as error:
            raise DbtFailed(
                f"{error.filename} cannot be written ({error.strerror}): name another home with SENTINET_HOME"
            ) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _connection(url: str) -> dict[str, str]:
    """The variables of dbt_project/profiles.yml."""
    parts = conninfo_to_dict(url)
    named = {
        "SENTINET_DBT_HOST": parts.get("host"),
        "SENTINET_DBT_PORT": parts.get("port"),
        "SENTINET_DBT_USER": parts.get("user"),
        "DBT_ENV_SECRET_SENTINET_PASSWORD": parts.get("password"),
        "SENTINET_DBT_DATABASE": parts.get("dbname"),
        "SENTINET_DBT_SSLMODE": parts.get("sslmode"),
    }
    return {name: str(value) for name, value in named.items() if value is not None}


def _tail(text: str) -> str:
    return " ".join(text[-_TAIL:].split())
