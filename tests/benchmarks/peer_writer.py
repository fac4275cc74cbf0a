"""cryptofeed as its users run it, for `peer.py`: runs in an environment of its own, knows nothing of ours.

    python peer_writer.py postgresql://… PORT SYMBOL…

Its Binance feed is pointed at a venue on this machine, without encryption, as the daemon is.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

import uvloop
from cryptofeed import FeedHandler
from cryptofeed.backends.postgres import TickerPostgres, TradePostgres
from cryptofeed.connection import WebsocketEndpoint
from cryptofeed.defines import SPOT, TICKER, TRADES
from cryptofeed.exchanges import Binance
from cryptofeed.symbols import Symbols


def main(url: str, port: str, *symbols: str) -> None:
    """Write until it is killed."""
    names = {f"{symbol.removesuffix('USDT')}-USDT": symbol for symbol in symbols}
    kinds = {"instrument_type": dict.fromkeys(names, SPOT), "tick_size": dict.fromkeys(names, "0.01")}
    Symbols.set(Binance.id, names, kinds)

    class Local(Binance):
        websocket_endpoints = [WebsocketEndpoint(f"wss://127.0.0.1:{port}")]  # noqa: RUF012 (its interface)

        def connect(self) -> list[Any]:
            connections: list[Any] = super().connect()
            for connection, *_ in connections:
                connection.address = connection.address.replace("wss://", "ws://", 1)
            return connections

    place = urlsplit(url)
    where = {
        "host": place.hostname,
        "port": place.port,
        "user": place.username and unquote(place.username),
        "pw": place.password and unquote(place.password),
        "db": place.path.lstrip("/"),
    }
    handler = FeedHandler(config={"uvloop": True, "log": {"disabled": True}})
    callbacks = {TRADES: TradePostgres(**where), TICKER: TickerPostgres(**where)}
    handler.add_feed(Local(symbols=list(names), channels=[TRADES, TICKER], callbacks=callbacks))
    asyncio.set_event_loop(uvloop.new_event_loop())  # it asks for the current one: newer uvloops have none
    handler.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
