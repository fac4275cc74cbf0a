"""The roles that Sentinet's programs and its readers work under: sql/roles.sql, and their passwords.

What lives here: applying them. What never does: what each may do (it is in the SQL); passwords anywhere but
in the environment, and on the server as a SCRAM secret that we compute: the server's log sees no password.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import structlog
from psycopg import sql

from sentinet_dagster.runtime.errors import UserError

ROLES: Final = ("ingest", "surveillance", "analyst", "officer")
_SHORTEST: Final = 12

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Passwords:
    """Role → password; a role without one keeps the one it has, and a new one cannot log in."""

    by_role: Mapping[str, str] = field(default_factory=dict, repr=False)
    dagster_database: str = ""
    """Dagster's own database, if it is on the same server: it is given to surveillance."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Passwords:
        """From SENTINET_ROLE_INGEST_PASSWORD, SENTINET_ROLE_SURVEILLANCE_PASSWORD, …_ANALYST_…, …_OFFICER_….

        Raises:
            UserError: one is too short or has blanks; the message does not quote it.
        """
        found = {}
        for role in ROLES:
            variable = f"SENTINET_ROLE_{role.upper()}_PASSWORD"
            password = environ.get(variable, "")
            if not password:
                continue
            if len(password) < _SHORTEST or not password.isascii() or not password.isprintable():
                raise UserError(f"{variable} is not accepted: write at least {_SHORTEST} ASCII characters")
            found[role] = password
        return cls(found, _database_beside(environ))


def apply_roles(connection: psycopg.Connection[Any], file: Path, passwords: Passwords) -> None:
    """Make the roles and their rights what `file` says, in the caller's transaction.

    Raises:
        UserError: we may not make roles here, or one of the name has rights that it must not have.
    """
    connection.execute(
        "select set_config('sentinet.dagster_database', %s, true)", [passwords.dagster_database]
    )
    try:
        connection.execute(file.read_bytes())
        for role, password in passwords.by_role.items():
            _let_in(connection, f"sentinet_{role}", password)
    except psycopg.errors.InsufficientPrivilege as error:
        raise UserError(
            f"roles cannot be made here ({error.diag.message_primary}): "
            "migrate as a superuser, or as the database's owner with CREATEROLE"
        ) from None
    except psycopg.errors.RaiseException as error:
        raise UserError(str(error.diag.message_primary)) from None
    log.info("roles applied", passwords=sorted(passwords.by_role))


def are_applied(connection: psycopg.Connection[Any]) -> bool:
    """Whether they are in force in this database: roles are the server's, their rights are a database's."""
    row = connection.execute(
        "select bool_and(has_schema_privilege(oid, 'market', 'usage'))"
        " from pg_roles where rolname = 'sentinet_ingest'"
    ).fetchone()
    return bool(row and row[0])


def _let_in(connection: psycopg.Connection[Any], role: str, password: str) -> None:
    secret = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    connection.execute(
        sql.SQL("alter role {} login password {}").format(
            sql.Identifier(role), sql.Literal(secret.decode("ascii"))
        )
    )


def _database_beside(environ: Mapping[str, str]) -> str:
    product, dagster = (
        urlsplit(environ.get(variable, "").strip())
        for variable in ("SENTINET_DATABASE_URL", "SENTINET_DAGSTER_DATABASE_URL")
    )
    same_server = (product.hostname, product.port) == (dagster.hostname, dagster.port)
    return dagster.path.lstrip("/") if same_server and dagster.path != product.path else ""
