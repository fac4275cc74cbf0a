"""Which relations a venue's channels tell: what is missing where a channel is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ingest_daemon.events import FactRelation

__all__ = ["Told", "told"]

Told = tuple[str, FactRelation]


def told(
    channels: Sequence[str], relations: Mapping[str, FactRelation], built_books: Sequence[str] = ()
) -> Sequence[Told]:
    """Channel and relation of what is told, in the order of `channels`.

    Args:
        channels: those subscribed to.
        relations: channel → what it tells.
        built_books: channels of books that are built from changes, the deepest last. Quotes are made of them
            where no channel tells any, and the deepest has the flow where a channel tells the trades.

    >>> told(["trade", "depth"], {"trade": "trades", "depth": "books", "ticker": "quotes"}, ["depth"])
    [('trade', 'trades'), ('depth', 'books'), ('depth', 'quotes'), ('depth', 'book_flows')]
    """
    said: list[Told] = []
    has_quotes = any(relations[channel] == "quotes" for channel in channels)
    has_trades = any(relations[channel] == "trades" for channel in channels)
    deepest = next((channel for channel in reversed(built_books) if channel in channels), None)
    for channel in channels:
        said.append((channel, relations[channel]))
        if not has_quotes and channel in built_books:
            said.append((channel, "quotes"))
        if has_trades and channel == deepest:
            said.append((channel, "book_flows"))
    return said
