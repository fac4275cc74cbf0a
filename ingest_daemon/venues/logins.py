"""Logging in: the login first, the subscriptions once the venue said yes.

What lives here: what to send when. What never does: the form of a venue's answer, sockets, clocks. A session
opened without credentials, for a recording or a server of recordings, has nobody to log in.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Login"]


class Login:
    """Where a session stands with its account."""

    def __init__(self, requests: Sequence[str] | None, subscriptions: Sequence[str]) -> None:
        """Start.

        Args:
            requests: what logs in; none of them where the address does; None: nobody logs in.
            subscriptions: what to send when the venue said yes, or at once where nobody logs in.
        """
        self._requests = requests
        self._subscriptions = tuple(subscriptions)
        self._to_send: tuple[str, ...] = ()
        self.is_done = requests is None

    def opening(self) -> Sequence[str]:
        """What to send when the socket is open."""
        return self._subscriptions if self._requests is None else self._requests

    def succeed(self) -> None:
        """The venue said yes; the subscriptions are due. Said twice, it counts once."""
        if not self.is_done:
            self.is_done = True
            self._to_send = self._subscriptions

    def pending_messages(self) -> Sequence[str]:
        """What to send now; each is returned once."""
        messages, self._to_send = self._to_send, ()
        return messages

    def keep_alive(self) -> str | None:
        """A subscription over again: the venue answers it and changes nothing. None before the login."""
        return self._subscriptions[0] if self.is_done and self._subscriptions else None
