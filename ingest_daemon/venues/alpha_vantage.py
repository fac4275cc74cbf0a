"""The dialect of Alpha Vantage: the last price of a stock, by GLOBAL_QUOTE.

What lives here: what to ask, and what an answer says. What never does: whose turn it is (`polls.py`), how
often to ask (`poll.py`), sockets, clocks.

Evidence: the venue's documentation, and answers to accounts over their limit that users published (2023,
2024). No recorded answer with a price was at hand.

    channel       event           fields
    GLOBAL_QUOTE  ReferencePrice  "05. price" as mark_price; "07. latest trading day" is a day without a time,
                                  so nobody says when the price occurred. New is what differs in day, price or
                                  "06. volume"

An account that is over its limit, or has no right, gets status 200 and a "Note" or "Information", which may
repeat the key. An unknown symbol gets an empty quote. Accounts that pay nothing have 25 calls a day and 5 a
minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from ingest_daemon.errors import ConfigError, LoginRefused, ParseError, VenueRefused
from ingest_daemon.venues.base import CallLimit, Capabilities, Listing, Need, Request
from ingest_daemon.venues.credentials import Credentials
from ingest_daemon.venues.fields import DECODE_ERRORS, Price, SizeOrZero
from ingest_daemon.venues.polls import LastPrice, PollSession, quoted
from ingest_daemon.venues.telling import Told

__all__ = ["ALPHA_VANTAGE", "AlphaVantage"]

_CHANNEL = "GLOBAL_QUOTE"
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class AlphaVantage(msgspec.Struct, frozen=True):
    """The entry of `VENUES`."""

    name: str = "alpha_vantage"
    channels: tuple[str, ...] = (_CHANNEL,)
    capabilities: Capabilities = Capabilities(reference_prices=True)
    needs: tuple[Need, ...] = ("key",)
    keep_alive_s: float | None = None
    longest_connection_s: float | None = None
    call_limits: tuple[CallLimit, ...] = (CallLimit(5, 60.0), CallLimit(25, 86_400.0))

    def open_session(
        self,
        venue: str,
        symbols: Mapping[str, Listing],
        channels: Sequence[str],
        credentials: Credentials | None = None,  # noqa: ARG002 (the feed puts the key into each request)
    ) -> PollSession:
        """A fresh session; ConfigError names an unknown channel and those accepted."""
        for channel in channels:
            if channel not in self.channels:
                raise ConfigError(
                    f"channels: {self.name} has no channel {channel!r}; accepted: {', '.join(self.channels)}"
                )
        asked = symbols if channels else {}
        return PollSession(venue, _CHANNEL, asked, _request, lambda body: _read_answer(venue, body))

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell."""
        return [(channel, "reference_prices") for channel in channels]

    def symbol_of(self, stream: str) -> str:
        """What stands after the colon."""
        return stream.partition(":")[2]

    def recognises(self, frame: bytes) -> bool:
        """Whether it is an answer with a price."""
        try:
            return _read_answer("", frame) is not None
        except (ParseError, VenueRefused, *DECODE_ERRORS):
            return False


class _Quote(msgspec.Struct, gc=False):
    symbol: _Text = msgspec.field(name="01. symbol")
    price: Price = msgspec.field(name="05. price")
    volume: SizeOrZero = msgspec.field(name="06. volume")
    day: _Text = msgspec.field(name="07. latest trading day")


class _Answer(msgspec.Struct, gc=False):
    quote: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="Global Quote", default=msgspec.UNSET)
    error: str | None = msgspec.field(name="Error Message", default=None)
    note: str | None = msgspec.field(name="Note", default=None)
    information: str | None = msgspec.field(name="Information", default=None)


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_quote = msgspec.json.Decoder(_Quote, strict=False).decode


def _request(symbol: str) -> Request:
    return Request(symbol, f"/query?function={_CHANNEL}&symbol={quoted(symbol)}", "apikey")


def _read_answer(venue: str, body: bytes) -> LastPrice | None:
    answer = _decode_answer(body)
    pause = answer.note or answer.information
    if pause is not None:
        raise LoginRefused(f"{venue} refused: {pause}")
    if answer.error is not None:
        refused = LoginRefused if "apikey" in answer.error else VenueRefused
        raise refused(f"{venue} refused: {answer.error}")
    if answer.quote is msgspec.UNSET:
        raise ParseError("neither a quote nor a refusal: no Global Quote")
    if bytes(answer.quote).split() in ([b"{}"], [b"{", b"}"]):
        return None
    quote = _decode_quote(answer.quote)
    return LastPrice(quote.symbol, quote.price, None, (quote.day, quote.price, quote.volume))


ALPHA_VANTAGE = AlphaVantage()
