"""What a bad line does to a venue's messages: damaged copies, messages twice, messages late. Pure.

What lives here: which messages are disturbed, and how; chosen by a seed. What never does: sockets, clocks.

Nothing is withheld: every message is still sent, and a damaged one is sent beside the one that it is a copy
of. So whatever a reader lacks in the end was lost on its own side, or with a socket.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from sentinet_dagster.runtime.venue_dialects import Message

__all__ = ["CALM", "Disturber", "Faults"]

_NOT_A_NUMBER = b'"1.2.3"'


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of all messages, each 0 to 1; none excludes another."""

    malformed: float = 0.0
    """Beside these goes a copy that no venue would send."""
    duplicated: float = 0.0
    """These come again."""
    reordered: float = 0.0
    """These come late."""
    within: int = 8
    """By how many messages, at most, one is late or comes again."""

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            ValueError: with the accepted form.
        """
        for name in ("malformed", "duplicated", "reordered"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}: write a share from 0 to 1")
        if self.within < 1:
            raise ValueError(f"within {self.within}: write a whole number above 0")


CALM = Faults()


class Disturber:
    """Disturbs the messages of one market.

    Args:
        faults: how much.
        seed: chooses which.
    """

    def __init__(self, faults: Faults, seed: str) -> None:
        self._faults = faults
        self._rng = random.Random(seed)  # noqa: S311 (a test's dice, no secret)
        self._passed = 0
        self._late: list[tuple[int, int, Message]] = []  # due after so many messages, order, what

    def disturb(self, messages: Sequence[Message]) -> Sequence[Message]:
        """What is sent instead, and now. A message that is late comes with one of the next calls."""
        if self._faults == CALM:
            return messages
        sent: list[Message] = []
        for message in messages:
            self._passed += 1
            if self._rng.random() < self._faults.reordered:
                self._delay(message)
            else:
                sent.append(message)
            if self._rng.random() < self._faults.duplicated:
                self._delay(message)
            if self._rng.random() < self._faults.malformed:
                sent.append(damaged(message, self._rng))
            while self._late and self._late[0][0] <= self._passed:
                sent.append(heapq.heappop(self._late)[2])
        return sent

    def flush(self) -> Sequence[Message]:
        """What is late still: it comes now."""
        return [heapq.heappop(self._late)[2] for _ in range(len(self._late))]

    def forget(self) -> None:
        """The line was cut: what is late never comes."""
        self._late.clear()

    def _delay(self, message: Message) -> None:
        due = self._passed + self._rng.randint(1, self._faults.within)
        heapq.heappush(self._late, (due, self._passed, message))


def damaged(message: Message, rng: random.Random) -> Message:
    """A copy that cannot be read: cut off in the middle, or with a number that is none."""
    text = message.text
    number = rng.choice([b'"p":', b'"b":'])
    at = text.find(number)
    if at >= 0 and rng.random() < 0.5:
        start = at + len(number)
        ends = [end for end in (text.find(b",", start), text.find(b"}", start)) if end >= 0]
        text = text[:start] + _NOT_A_NUMBER + text[min(ends) :]
    else:
        text = text[: rng.randrange(1, len(text))]
    return message._replace(text=text, fact=None, opening=None, is_damaged=True)
