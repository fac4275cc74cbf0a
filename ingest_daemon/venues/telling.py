"""Which relations a venue's channels tell: what is missing where a channel is. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ingest_daemon.events import FactRelation

__all__ = ["Told", "told"]

Told = tuple[str, FactRelation]


def told(
    channels: Sequence[str], relations: Mapping[str, FactRelation], quoting_books: Collection[str] = ()
) -> Sequence[Told]:
    """Channel and relation of what is told, in the order of `channels`.

    Args:
        channels: those subscribed to.
        relations: channel → what it tells.
        quoting_books: channels of books from which quotes are made where no channel tells any.

    >>> told(["trade", "depth"], {"trade": "trades", "depth": "books", "ticker": "quotes"}, {"depth"})
    [('trade', 'trades'), ('depth', 'books'), ('depth', 'quotes')]
    """
    said: list[Told] = []
    has_quotes = any(relations[channel] == "quotes" for channel in channels)
    for channel in channels:
        said.append((channel, relations[channel]))
        if not has_quotes and channel in quoting_books:
            said.append((channel, "quotes"))
    return said
