"""The two ways in which starting Sentinet on a machine fails.

What never lives here: printing and exit codes, which are the commands'.
"""

from __future__ import annotations


class UserError(Exception):
    """The user must change something. The message is one line: what is wrong, and what would be right."""


class ProcessFailed(Exception):
    """A process that Sentinet started did not come up, or went away for good.

    The message's first line says which and how; the last lines of its log follow.
    """

    def __init__(self, name: str, reason: str, log_tail: str = "") -> None:
        self.name = name
        self.reason = reason
        self.log_tail = log_tail
        super().__init__("\n".join(part for part in (f"{name} {reason}", log_tail) if part))
