"""Venues whose every message is a list of items, and which want a login by message first.

What lives here: the login's place. What never does: the words of any one venue.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from sentinet_dagster.runtime.venue_dialects.base import Caller, Reply, StreamDialect, request_in, text_of

__all__ = ["Item", "ItemListDialect", "items"]

Item = Mapping[str, Any]


class ItemListDialect(StreamDialect):
    """A venue says how it greets, refuses and what a request for streams means."""

    greeting: ClassVar[Item]
    malformed: ClassVar[Item]
    not_logged_in: ClassVar[Item]
    logged_in: ClassVar[Item]
    login_refused: ClassVar[Item]

    def greet(self, caller: Caller) -> Reply:  # noqa: ARG002
        """That the socket is open."""
        return Reply([items(self.greeting)])

    def hear(self, caller: Caller, message: str | bytes) -> Reply:
        """The login; then subscribe, unsubscribe."""
        request = request_in(message) or {}
        action = request.get("action")
        if action == "auth":
            caller.is_logged_in = self.accepts(*self.account_in(request))
            answer = self.logged_in if caller.is_logged_in else self.login_refused
            return Reply([items(answer)], closes=not caller.is_logged_in)
        if action not in ("subscribe", "unsubscribe"):
            return Reply([items(self.malformed)])
        if not caller.is_logged_in:
            return Reply([items(self.not_logged_in)])
        return self.obey(caller, action, request)

    @abstractmethod
    def account_in(self, request: Mapping[str, Any]) -> tuple[str, str | None]:
        """Key and secret of a login; None where the venue wants none."""

    @abstractmethod
    def obey(self, caller: Caller, action: str, request: Mapping[str, Any]) -> Reply:
        """Subscribe or unsubscribe, by a caller that is logged in."""


def items(*found: Item) -> str:
    """A message."""
    return text_of(found)
