"""What proves an account at a venue, and how it is kept out of sight.

What lives here: the values, and taking them out of what others say. What never does: reading the environment
(`config.py`), sending (`feed.py` and the sessions).

A venue may repeat a key in its answer ("we have detected your API key as …"), and a library puts a whole URL
into its errors. So what comes back is redacted before anything looks at it.
"""

from __future__ import annotations

from typing import Final, Never

__all__ = ["HIDDEN", "Credentials"]

HIDDEN: Final = "[hidden]"


class Credentials:
    """A key, and a secret where the venue wants one. Neither repr nor str nor pickle has them."""

    __slots__ = ("key", "secret")

    def __init__(self, key: str, secret: str = "") -> None:
        self.key = key
        self.secret = secret

    def redact(self, text: str) -> str:
        """The text without the key and the secret."""
        for value in self._values():
            text = text.replace(value, HIDDEN)
        return text

    def redact_bytes(self, data: bytes) -> bytes:
        """The bytes without the key and the secret; the same object where they are not in it."""
        for value in self._values():
            data = data.replace(value.encode(), HIDDEN.encode())
        return data

    def _values(self) -> tuple[str, ...]:
        # The longer first: one may be a part of the other.
        return tuple(sorted(filter(None, (self.key, self.secret)), key=len, reverse=True))

    def __repr__(self) -> str:
        return f"Credentials({HIDDEN})"

    def __reduce__(self) -> Never:
        raise TypeError("credentials are not written anywhere")
