"""Superset on this machine: an environment of its own, secrets, a database for what it remembers, its
process.

What lives here: installing, and how it is started. What never does: its life (`service.py`, `processes.py`),
what it shows (`superset/`), its settings (`superset/server/`).

It cannot share our environment: it needs SQLAlchemy 1.4. What it is made of is pinned in
`superset/requirements.txt`.

    <home>/superset/venv/           the environment, unless SENTINET_SUPERSET_ENV names another folder
    <home>/superset/secrets.json    passwords and the key of sessions, mode 600

Superset reads the product's database under the role `sentinet_analyst`, which cannot write: on the home's own
server with a password of ours, on another one as SENTINET_SUPERSET_DATABASE_URL says.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import structlog
from psycopg import sql

import sentinet_dagster.superset
from sentinet_dagster.runtime.database_url import check_url, connect
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.parts import Database
from sentinet_dagster.runtime.ports import LOOPBACK
from sentinet_dagster.runtime.processes import ProcessSpec, Restart, answers_http
from sentinet_dagster.runtime.roles import Passwords
from sentinet_dagster.superset.target import Target

__all__ = [
    "ENVIRONMENT",
    "READING",
    "READY_S",
    "WORKERS",
    "Secrets",
    "SupersetServer",
    "database_url",
    "install",
]

ENVIRONMENT: Final = "SENTINET_SUPERSET_ENV"
METADATA: Final = "SENTINET_SUPERSET_METADATA_URL"
READING: Final = "SENTINET_SUPERSET_DATABASE_URL"
WORKERS: Final = "SENTINET_SUPERSET_WORKERS"
READY_S: Final = 420.0  # its tables are 345 migrations when it starts for the first time
ADMIN: Final = "admin"
_FOLDER: Final = Path(sentinet_dagster.superset.__file__).parent
_REQUIREMENTS: Final = _FOLDER / "requirements.txt"
_METADATA_DATABASE: Final = "sentinet_superset"
_ROLE: Final = "analyst"
# Bytes of randomness in each secret.
_LENGTHS: Final = {"session_key": 48, "admin_password": 18, "analyst_password": 12, "database_password": 18}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is generated once for a home."""

    session_key: str = field(repr=False)
    admin_password: str = field(repr=False)
    analyst_password: str = field(repr=False)
    database_password: str = field(repr=False)  # of the role sentinet_analyst on the home's own server

    @classmethod
    def of(cls, home: Home) -> Secrets:
        """Those in the home's file, made where there is none yet. A file of an older version is completed.

        Raises:
            UserError: the file cannot be read, or is none of ours.
        """
        file = home.superset / "secrets.json"
        try:
            kept = json.loads(file.read_text()) if file.exists() else _made(_LENGTHS)
            found = cls(**_made(("database_password",)) | kept)
            if not file.exists() or kept != asdict(found):
                scratch = file.with_suffix(f".{os.getpid()}")
                scratch.touch(mode=0o600)
                scratch.write_text(json.dumps(asdict(found), indent=1) + "\n")
                scratch.rename(file)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{file} cannot be read ({error}): put it back, or remove {home.superset}"
            ) from None
        return found


def _made(names: Iterable[str]) -> dict[str, str]:
    return {name: secrets.token_urlsafe(_LENGTHS[name]) for name in names}


def install(home: Home, environ: Mapping[str, str]) -> Path:
    """The Python of an environment that has exactly the pinned Superset; made or completed where it has not.

    Raises:
        UserError: it cannot be installed here; one line says why.
    """
    folder = Path(environ.get(ENVIRONMENT, "").strip() or home.superset / "venv").expanduser().absolute()
    python, stamp = folder / "bin" / "python", folder / ".sentinet"
    pins = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()
    if _says(stamp, pins) and python.exists():
        return python
    uv = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), environ.get("PATH", ""))))
    if uv is None:
        raise UserError(
            "Superset is not installed, and uv, which installs it, is not there: run `make dashboards`"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (_says(stamp, pins) and python.exists()):
            log.info("installing Superset", folder=str(folder))
            _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
            wanted = ["--python", str(python), "--requirement", str(_REQUIREMENTS)]
            _run([uv, "pip", "install", "--quiet", "--compile-bytecode", *wanted])
            stamp.write_text(pins)
    return python


def _says(stamp: Path, text: str) -> bool:
    return stamp.exists() and stamp.read_text() == text


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise UserError(f"Superset cannot be installed: {' '.join(said)[:400] or 'uv failed'}")


@dataclass(frozen=True, slots=True)
class SupersetServer:
    """A home's Superset: its process, and how it is published to."""

    home: Home
    python: Path
    port: int
    secrets: Secrets
    metadata_url: str = field(repr=False)
    database_url: str = field(repr=False)  # through which Superset reads the product's database
    roles: Passwords | None  # what must be in force there for that; None: it is not ours to see to
    workers: int

    @classmethod
    def lay_out(cls, home: Home, database: Database, environ: Mapping[str, str]) -> SupersetServer:
        """Install what is missing, make its database, choose its port; starts nothing.

        Raises:
            UserError: something of that cannot be had.
        """
        home.superset.mkdir(exist_ok=True)
        workers = _workers(environ)
        python = install(home, environ)
        kept = Secrets.of(home)
        ours = database.server is not None and not environ.get(READING, "").strip()
        return cls(
            home=home,
            python=python,
            port=home.choose_port("superset", environ),
            secrets=kept,
            metadata_url=_metadata_url(database, environ),
            database_url=database_url(database.url, kept, environ, own=database.server is not None),
            roles=Passwords({_ROLE: kept.database_password}) if ours else None,
            workers=workers,
        )

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    def target(self, dagster_url: str) -> Target:
        """How it is published to."""
        return Target(
            url=self.url,
            user=ADMIN,
            password=self.secrets.admin_password,
            database_url=self.database_url,
            dagster_url=dagster_url,
            analyst_password=self.secrets.analyst_password,
        )

    def publishing(self, dagster_url: str) -> dict[str, str]:
        """What Dagster's processes are told, so that assets can publish."""
        return {
            "SENTINET_SUPERSET_URL": self.url,
            "SENTINET_SUPERSET_USER": ADMIN,
            "SENTINET_SUPERSET_PASSWORD": self.secrets.admin_password,
            "SENTINET_SUPERSET_ANALYST_PASSWORD": self.secrets.analyst_password,
            READING: self.database_url,
            "SENTINET_DAGSTER_URL": dagster_url,
        }

    def spec(self) -> ProcessSpec:
        """The process: prepares its database where that is due, then serves."""
        folder = self.home.superset
        return ProcessSpec(
            name="superset",
            argv=[str(self.python), str(_FOLDER / "server" / "serve.py")],
            log_file=self.home.log_file("superset"),
            env={
                "SUPERSET_CONFIG_PATH": str(_FOLDER / "server" / "superset_config.py"),
                "SUPERSET_HOME": str(folder),
                "PYTHONPATH": "",
                "PYTHONUNBUFFERED": "1",
                METADATA: self.metadata_url,
                "SENTINET_SUPERSET_SECRET_KEY": self.secrets.session_key,
                "SENTINET_SUPERSET_CACHE": str(folder / "cache"),
                "SENTINET_SUPERSET_STAMP": str(folder / "prepared"),
                "SENTINET_SUPERSET_USER": ADMIN,
                "SENTINET_SUPERSET_PASSWORD": self.secrets.admin_password,
                "SENTINET_SUPERSET_BIND": f"{LOOPBACK}:{self.port}",
                WORKERS: str(self.workers),
            },
            cwd=folder,
            ready=answers_http(f"{self.url}/health"),
            ready_s=READY_S,
            restart=Restart(),
        )


def _workers(environ: Mapping[str, str]) -> int:
    """Processes that answer: some 350 MB each."""
    text = environ.get(WORKERS, "").strip() or "2"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise UserError(f"{WORKERS}={text}: write how many processes answer for Superset, such as 2")
    return int(text)


def database_url(url: str, kept: Secrets, environ: Mapping[str, str], *, own: bool) -> str:
    """Through which Superset reads: what the environment names, else the analyst's on the home's own server.

    Args:
        url: the product's database.
        kept: the home's.
        own: the database is on the home's own server.

    Raises:
        UserError: the database is another one, and the environment names no way for Superset.
    """
    given = environ.get(READING, "").strip()
    if given:
        return check_url(given, READING)
    if not own:
        raise UserError(
            f"{READING} is not set: Superset reads a database of yours under a role that cannot write, "
            "such as postgresql://sentinet_analyst:password@host:5432/sentinet; "
            "`sentinet migrate --roles` makes it"
        )
    parts = urlsplit(url)
    _, _, place = parts.netloc.rpartition("@")
    password = quote(kept.database_password, safe="")
    return urlunsplit(parts._replace(netloc=f"sentinet_{_ROLE}:{password}@{place}"))


def _metadata_url(database: Database, environ: Mapping[str, str]) -> str:
    """Where Superset keeps its own state: the database that is named, else one beside ours on the home's."""
    given = environ.get(METADATA, "").strip()
    if given:
        connect(check_url(given, METADATA)).close()
        return _for_sqlalchemy(given)
    if database.server is None:
        raise UserError(
            f"{METADATA} is not set: beside SENTINET_DATABASE_URL Superset needs a database of its own, "
            "such as postgresql://user:password@host:5432/sentinet_superset"
        )
    with psycopg.connect(database.url, autocommit=True) as connection:
        present = connection.execute(
            "select from pg_database where datname = %s", (_METADATA_DATABASE,)
        ).fetchone()
        if present is None:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(_METADATA_DATABASE)))
    return _for_sqlalchemy(urlunsplit(urlsplit(database.url)._replace(path=f"/{_METADATA_DATABASE}")))


def _for_sqlalchemy(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql+psycopg2"))
