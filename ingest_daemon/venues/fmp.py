"""The dialect of Financial Modeling Prep: the last price of a stock, by `quote`.

What lives here: what to ask, and what an answer says. What never does: whose turn it is (`polls.py`), how
often to ask (`poll.py`), sockets, clocks.

Evidence: an answer that the venue published (2025-11). Refusals are as users tell of them.

    channel  event           fields
    quote    ReferencePrice  price as mark_price, timestamp in seconds; another timestamp: a new price

A refused key has status 401 and an account over its limit 429, both an object with "Error Message". An
unknown symbol gets an empty list. Accounts that pay nothing have 250 calls a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from ingest_daemon.errors import ConfigError, LoginRefused, ParseError, VenueRefused
from ingest_daemon.venues.base import CallLimit, Capabilities, Listing, Need, Request
from ingest_daemon.venues.credentials import Credentials
from ingest_daemon.venues.fields import DECODE_ERRORS, FIRST_MS, LAST_MS, Price
from ingest_daemon.venues.polls import LastPrice, PollSession, quoted
from ingest_daemon.venues.telling import Told

__all__ = ["FMP", "FinancialModelingPrep"]

_CHANNEL = "quote"
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
_Seconds = Annotated[int, msgspec.Meta(ge=FIRST_MS // 1_000, le=LAST_MS // 1_000)]
_OF_THE_ACCOUNT = ("api key", "limit")


class FinancialModelingPrep(msgspec.Struct, frozen=True):
    """The entry of `VENUES`."""

    name: str = "fmp"
    channels: tuple[str, ...] = (_CHANNEL,)
    capabilities: Capabilities = Capabilities(reference_prices=True)
    needs: tuple[Need, ...] = ("key",)
    keep_alive_s: float | None = None
    longest_connection_s: float | None = None
    call_limits: tuple[CallLimit, ...] = (CallLimit(250, 86_400.0),)

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
    symbol: _Text
    price: Price
    timestamp: _Seconds


class _Refusal(msgspec.Struct, gc=False):
    error: str = msgspec.field(name="Error Message")


_decode_answer = msgspec.json.Decoder(Annotated[list[_Quote], msgspec.Meta(max_length=1)] | _Refusal).decode


def _request(symbol: str) -> Request:
    return Request(symbol, f"/stable/quote?symbol={quoted(symbol)}", "apikey")


def _read_answer(venue: str, body: bytes) -> LastPrice | None:
    answer = _decode_answer(body)
    if isinstance(answer, _Refusal):
        is_of_the_account = any(words in answer.error.lower() for words in _OF_THE_ACCOUNT)
        refused = LoginRefused if is_of_the_account else VenueRefused
        raise refused(f"{venue} refused: {answer.error}")
    if not answer:
        return None
    (quote,) = answer
    return LastPrice(quote.symbol, quote.price, quote.timestamp * 1_000_000, quote.timestamp)


FMP = FinancialModelingPrep()
