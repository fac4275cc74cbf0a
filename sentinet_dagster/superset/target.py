"""Which Superset is published to, as the environment names it.

What lives here: the variables, checked. What never does: connecting.

    SENTINET_SUPERSET_URL                 where it answers, http(s)://host:port; without it there is none
    SENTINET_SUPERSET_USER, …_PASSWORD    an administrator
    SENTINET_SUPERSET_DATABASE_URL        the product's database for Superset (SENTINET_DATABASE_URL)
    SENTINET_SUPERSET_ANALYST_PASSWORD    of the user `analyst`, who is made where there is none of the name
    SENTINET_DAGSTER_URL                  Dagster's web UI, for links from dashboards
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

__all__ = ["ANALYST_NAME", "MASK", "Target", "TargetError", "for_superset"]

ANALYST_NAME: Final = "analyst"

MASK: Final = "X" * 10
"""What Superset reads in place of a password that it is told apart from the address."""


class TargetError(ValueError):
    """A variable is missing or wrong. The message names it and the accepted form, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Target:
    """A Superset, and what it is told of us."""

    url: str
    user: str
    password: str = field(repr=False)
    database_url: str = field(repr=False)
    dagster_url: str
    analyst_password: str = field(repr=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], url: str | None = None) -> Target | None:
        """What the environment says; None: it names no Superset. `url` replaces SENTINET_SUPERSET_URL.

        Raises:
            TargetError: it names one, and something is missing.
        """

        def said(name: str) -> str:
            return environ.get(name, "").strip()

        address = (url or said("SENTINET_SUPERSET_URL")).rstrip("/")
        if not address:
            return None
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).netloc:
            raise TargetError(f"{address} is no address of a Superset: want http://host:port or https://host")
        if not said("SENTINET_SUPERSET_PASSWORD"):
            raise TargetError(
                "SENTINET_SUPERSET_PASSWORD is not set: want the password of Superset's administrator"
            )
        database = said("SENTINET_SUPERSET_DATABASE_URL") or said("SENTINET_DATABASE_URL")
        return cls(
            url=address,
            user=said("SENTINET_SUPERSET_USER") or "admin",
            password=said("SENTINET_SUPERSET_PASSWORD"),
            database_url=database,
            dagster_url=said("SENTINET_DAGSTER_URL").rstrip("/"),
            analyst_password=said("SENTINET_SUPERSET_ANALYST_PASSWORD"),
        )


def for_superset(url: str) -> tuple[str, str]:
    """A PostgreSQL URL as Superset wants it: for its driver, the password apart and `MASK` in its place.

    >>> address, password = for_superset("postgresql://ana:s%40crt@db:5432/sentinet?sslmode=require")
    >>> address.replace(MASK, "…"), password
    ('postgresql+psycopg2://ana:…@db:5432/sentinet?sslmode=require', 's@crt')
    """
    parts = urlsplit(url)
    password = unquote(parts.password or "")
    _, _, place = parts.netloc.rpartition("@")
    user = quote(unquote(parts.username or ""), safe="")
    secret = f":{MASK}" if password else ""
    netloc = f"{user}{secret}@{place}" if user else place
    return urlunsplit(parts._replace(scheme="postgresql+psycopg2", netloc=netloc)), password
