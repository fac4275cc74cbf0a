"""Superset's web API: logging in, asking, changing.

What lives here: HTTP, sessions, and what went wrong in one line. What never does: what is published and who
may see it (`publish.py`, `access.py`). No package of the registry does this for 6.x.

A change takes a bearer token, a CSRF token, and the cookies of the same session: a bearer alone is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

__all__ = ["Superset", "SupersetError", "SupersetRefused", "SupersetUnavailable", "reason"]

_API: Final = "/api/v1"
_PAGE: Final = 100  # more is not given
_TIMEOUT: Final = httpx.Timeout(300.0, connect=5.0)  # an import of everything, on a machine that is busy

# By what each list is read: pages of a list without an order overlap, and rows fall between them.
_ORDER: Final = {
    "annotation_layer/": "name",
    "chart/": "slice_name",
    "dashboard/": "dashboard_title",
    "database/": "database_name",
    "dataset/": "table_name",
    "rowlevelsecurity/": "name",
    "security/permissions-resources/": "id",
    "security/roles/": "name",
    "security/users/": "username",
    "theme/": "theme_name",
}

Row = dict[str, Any]


class SupersetError(Exception):
    """Superset did not do what it was asked for. The message is one line and holds no secret."""


class SupersetUnavailable(SupersetError):
    """Nobody answers there, or something else than a Superset does."""


class SupersetRefused(SupersetError):
    """It answered no."""


class Superset:
    """One session as one user. Use as a context manager; entering logs in.

    Raises:
        SupersetUnavailable: on entering, and at every call: it is not there (any more).
        SupersetRefused: the user or the password is wrong, or Superset refuses a change.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self._user = user
        self._password = password
        # No proxy of the environment: the address is the operator's own. A connection a request: Superset's
        # server closes idle ones after two seconds, and what is sent into that moment is lost.
        alone = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=self.url, timeout=_TIMEOUT, trust_env=False, limits=alone)

    def __enter__(self) -> Self:
        try:
            self._log_in()
        except BaseException:
            self._http.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **parameters: str) -> Row:
        """The answer to a GET of `/api/v1/<path>`."""
        return self._ask("GET", path, params=parameters)

    def post(self, path: str, body: object) -> Row:
        """The answer to a POST."""
        return self._ask("POST", path, json=body)

    def put(self, path: str, body: object) -> Row:
        """The answer to a PUT."""
        return self._ask("PUT", path, json=body)

    def delete(self, path: str) -> None:
        """Remove what is there."""
        self._ask("DELETE", path)

    def rows(self, path: str, columns: tuple[str, ...] = ()) -> Iterator[Row]:
        """All objects of a kind, such as `chart/`, with these columns or those that Superset picks."""
        picked = f",columns:!({','.join(columns)})" if columns else ""
        if path in _ORDER:
            picked += f",order_column:{_ORDER[path]},order_direction:asc"
        page = 0
        while found := self.get(path, q=f"(page:{page},page_size:{_PAGE}{picked})")["result"]:
            yield from found
            page += 1
            if len(found) < _PAGE:
                return

    def ids(self, kind: str) -> dict[str, int]:
        """UUID → Superset's number of every object of a kind: database, dataset, chart, dashboard."""
        return {str(row["uuid"]): int(row["id"]) for row in self.rows(f"{kind}/", ("id", "uuid"))}

    def in_parallel(self, connections: int) -> httpx.AsyncClient:
        """The same session for an event loop, with that many connections; use as an asynchronous context
        manager. Paths begin with /api/v1/."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=0)
        return httpx.AsyncClient(
            base_url=self.url,
            headers=self._http.headers,
            cookies=self._http.cookies,
            timeout=httpx.Timeout(60.0, pool=None),
            trust_env=False,
            limits=limits,
        )

    def import_assets(self, archive: bytes, passwords: Mapping[str, str]) -> None:
        """Make everything in the ZIP what the ZIP says; all of it or nothing.

        Args:
            archive: as `Bundle.to_zip` makes it.
            passwords: slug of a database → its password. Two imports at once collide: one at a time.
        """
        named = {f"databases/{slug}.yaml": password for slug, password in passwords.items()}
        self._ask(
            "POST",
            "assets/import/",
            files={"bundle": ("bundle.zip", archive, "application/zip")},
            data={"passwords": json.dumps(named)},
        )

    def _log_in(self) -> None:
        credentials = {"username": self._user, "password": self._password, "provider": "db", "refresh": False}
        try:
            token = self._ask("POST", "security/login", json=credentials)["access_token"]
        except SupersetRefused as error:
            raise SupersetRefused(f"Superset at {self.url} does not let {self._user} in: {error}") from None
        self._http.headers["Authorization"] = f"Bearer {token}"
        self._http.headers["X-CSRFToken"] = self._ask("GET", "security/csrf_token/")["result"]
        self._http.headers["Referer"] = self.url  # what a CSRF token is worth over https

    def _ask(self, method: str, path: str, **arguments: Any) -> Row:
        try:
            response = self._http.request(method, f"{_API}/{path}", **arguments)
        except httpx.TransportError as error:
            raise SupersetUnavailable(f"no Superset answers at {self.url}: {error}") from None
        if not response.is_success:
            raise SupersetRefused(f"{method} {path}: {response.status_code}: {reason(response)}")
        try:
            answer = response.json()
        except ValueError:
            raise SupersetUnavailable(
                f"{self.url} is no Superset: its answer to {path} is not JSON"
            ) from None
        return answer if isinstance(answer, dict) else {"result": answer}


def reason(response: httpx.Response) -> str:
    """What Superset says, in one line: `message`, or the `errors` of an import with the files at fault."""
    try:
        said = response.json()
    except ValueError:
        return response.reason_phrase
    if not isinstance(said, dict):
        return " ".join(str(said).split())
    told = said.get("errors") or said.get("message") or said
    return " ".join(json.dumps(told, ensure_ascii=False).split()) if not isinstance(told, str) else told
