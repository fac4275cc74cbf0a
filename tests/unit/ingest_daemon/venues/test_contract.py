"""What every entry of VENUES promises. A venue without examples here fails: none can be added untested."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.errors import ConfigError, ParseError, VenueRefused
from ingest_daemon.events import Book, Event, FeedGap, Quote, ReferencePrice, Trade
from ingest_daemon.venues import (
    VENUES,
    Credentials,
    KeyedVenueProtocol,
    PolledVenueProtocol,
    Session,
    VenueProtocol,
)
from tests.unit.ingest_daemon.venues.examples import EXAMPLES

SEEN_AT = 1_700_000_000_500_000

ALL_EXAMPLES = [(name, channel) for name, venue in EXAMPLES.items() for channel in venue.frames]
KEYED = {name for name, venue in VENUES.items() if isinstance(venue, KeyedVenueProtocol)}
POLLED = {name for name, venue in VENUES.items() if isinstance(venue, PolledVenueProtocol)}
SOCKETS_WITH_KEYS = sorted(KEYED - POLLED)
ACCOUNT = Credentials("contractTESTkey", "contractTESTsecret")

venues = pytest.mark.parametrize("name", sorted(VENUES))
examples = pytest.mark.parametrize(("name", "channel"), ALL_EXAMPLES)


def open_session(venue: VenueProtocol, channels: Sequence[str] | None = None) -> Session:
    return venue.open_session(
        "somewhere", EXAMPLES[venue.name].symbols, venue.channels if channels is None else channels
    )


def test_every_venue_and_every_channel_has_an_example() -> None:
    assert {name: set(venue.channels) for name, venue in VENUES.items()} == {
        name: set(venue.frames) for name, venue in EXAMPLES.items()
    }


@venues
def test_what_a_venue_is_said_to_give_is_what_its_channels_give(name: str) -> None:
    given = {kind for _, kinds in EXAMPLES[name].frames.values() for kind in kinds}
    said = VENUES[name].capabilities
    assert said.trades == (Trade in given)
    assert said.quotes == (Quote in given)
    assert bool(said.book_depth) == (Book in given)
    assert said.reference_prices == (ReferencePrice in given)


@venues
def test_the_key_is_the_name(name: str) -> None:
    assert VENUES[name].name == name


@examples
def test_the_example_of_a_channel_parses(name: str, channel: str) -> None:
    frame, kinds = EXAMPLES[name].frames[channel]
    events = open_session(VENUES[name], [channel]).parse(frame, SEEN_AT)
    assert tuple(type(event) for event in events) == kinds
    for event in events:
        assert not isinstance(event, FeedGap)
        assert event.instrument_id == 1
        assert event.received_at == SEEN_AT


@examples
def test_the_same_frames_give_the_same_events(name: str, channel: str) -> None:
    frame, _ = EXAMPLES[name].frames[channel]
    first, second = open_session(VENUES[name]), open_session(VENUES[name])
    assert [first.parse(frame, SEEN_AT) for _ in range(3)] == [second.parse(frame, SEEN_AT) for _ in range(3)]


@examples
def test_the_venue_recognises_its_own_and_no_other_does(name: str, channel: str) -> None:
    frame, _ = EXAMPLES[name].frames[channel]
    expected = [] if channel in EXAMPLES[name].shared else [name]
    assert [other for other, venue in sorted(VENUES.items()) if venue.recognises(frame)] == expected


@venues
def test_an_unknown_channel_is_refused_by_name_with_those_accepted(name: str) -> None:
    venue = VENUES[name]
    with pytest.raises(ConfigError) as refused:
        open_session(venue, ["tradez"])
    for word in ("channels", "'tradez'", name, *venue.channels):
        assert word in str(refused.value)


@examples
def test_the_stream_of_an_example_names_its_symbol_if_it_is_one_symbols(name: str, channel: str) -> None:
    frame, _ = EXAMPLES[name].frames[channel]
    stream = open_session(VENUES[name]).stream_of(frame)
    assert stream
    assert VENUES[name].symbol_of(stream) in {"", next(iter(EXAMPLES[name].symbols))}


@venues
def test_subscriptions_are_texts_and_acknowledgements_are_silent(name: str) -> None:
    session = open_session(VENUES[name])
    assert bool([json.loads(text) for text in session.subscribe()]) == (name not in POLLED)
    for answer in EXAMPLES[name].acknowledgements:
        assert session.parse(answer, SEEN_AT) == ()
        assert session.stream_of(answer) == ""
        assert not VENUES[name].recognises(answer)
    assert session.pending_messages() == ()
    assert bool(session.pending_requests()) == (name in POLLED)


@pytest.mark.parametrize("name", SOCKETS_WITH_KEYS)
def test_with_an_account_the_subscriptions_wait_for_the_login(name: str) -> None:
    venue, known = VENUES[name], EXAMPLES[name]
    assert isinstance(venue, KeyedVenueProtocol)
    session = venue.open_session("somewhere", known.symbols, venue.channels, ACCOUNT)
    sent = [*session.subscribe(), session.path()]
    assert any(ACCOUNT.key in text for text in sent)
    assert any(ACCOUNT.secret in text for text in sent) == ("secret" in venue.needs)
    assert not session.is_logged_in
    assert session.pending_messages() == ()
    for answer in known.acknowledgements:
        assert session.parse(answer, SEEN_AT) == ()
    assert session.is_logged_in
    assert list(session.pending_messages()) == list(open_session(venue).subscribe())
    assert ACCOUNT.key not in f"{session!r} {vars(venue) if hasattr(venue, '__dict__') else venue}"


@pytest.mark.parametrize("name", sorted(POLLED))
def test_each_symbol_has_its_turn_and_no_request_has_a_key(name: str) -> None:
    venue, known = VENUES[name], EXAMPLES[name]
    assert isinstance(venue, PolledVenueProtocol)
    session = venue.open_session("somewhere", known.symbols, venue.channels, ACCOUNT)
    requests = [request for _ in range(4) for request in session.pending_requests()]
    assert [request.key for request in requests] == [*known.symbols, *known.symbols]
    assert ACCOUNT.key not in str(requests)
    assert all(request.key in request.path and request.key_parameter for request in requests)
    assert venue.call_limits
    frame, _ = next(iter(known.frames.values()))
    assert len(session.answer(requests[0], frame, SEEN_AT)) == 1
    assert session.answer(requests[0], frame, SEEN_AT) == ()  # told already
    with pytest.raises(ParseError):
        session.answer(requests[0], b"", SEEN_AT)


@venues
def test_a_refusal_is_told_with_the_venues_words(name: str) -> None:
    with pytest.raises(VenueRefused) as refused:
        open_session(VENUES[name]).parse(EXAMPLES[name].refusal, SEEN_AT)
    for words in EXAMPLES[name].refusal_words:
        assert words in str(refused.value)


@examples
def test_a_stream_of_another_symbol_is_refused_by_name(name: str, channel: str) -> None:
    frame, _ = EXAMPLES[name].frames[channel]
    with pytest.raises(ParseError, match=EXAMPLES[name].foreign_name):
        open_session(VENUES[name]).parse(EXAMPLES[name].of_another_symbol(frame), SEEN_AT)


@venues
def test_a_new_session_has_no_gap(name: str) -> None:
    assert open_session(VENUES[name]).close(SEEN_AT) == []


@venues
@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"ping",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"null",
        b"42",
        b'{"stream":null}',
        b'{"stream":"',
        b"[" * 100_000,
    ],
)
def test_garbage_is_refused_and_leaves_the_session_usable(name: str, garbage: bytes) -> None:
    session = open_session(VENUES[name])
    with pytest.raises(ParseError):
        session.parse(garbage, SEEN_AT)
    assert session.stream_of(garbage) == ""
    assert not VENUES[name].recognises(garbage)
    frame, kinds = next(iter(EXAMPLES[name].frames.values()))
    assert len(session.parse(frame, SEEN_AT)) == len(kinds) > 0


TOKENS = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"null",
    b"-1",
    b"0",
    b'"0"',
    b'"nan"',
    b"1e400",
    b"\xff",
    b"9" * 30,
]


@given(
    st.sampled_from(ALL_EXAMPLES),
    st.lists(
        st.tuples(
            st.floats(0, 1), st.integers(0, 12), st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4))
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_a_damaged_frame_gives_events_or_says_what_is_wrong(
    example: tuple[str, str], damages: list[tuple[float, int, bytes]]
) -> None:
    name, channel = example
    frame, _ = EXAMPLES[name].frames[channel]
    for place, cut, put in damages:  # cut out `cut` bytes at a place, put others in
        at = int(place * len(frame))
        frame = frame[:at] + put + frame[at + cut :]
    session = open_session(VENUES[name])
    session.stream_of(frame)
    VENUES[name].recognises(frame)
    try:
        events = session.parse(frame, SEEN_AT)
    except (ParseError, VenueRefused):
        return
    for event in events:
        assert_storable(event)


def assert_storable(event: Event) -> None:
    """Nothing that the database, or arithmetic on it, would choke on."""
    assert isinstance(event, Trade | Quote | Book | ReferencePrice)
    first, last = 1_230_768_000_000_000, 4_102_444_800_000_000
    assert event.occurred_at is None or first <= event.occurred_at < last
    match event:
        case Trade():
            numbers = [event.price, event.size]
            assert 0 <= event.trade_id < 2**63
            assert 1 <= event.fills < 2**31
        case Quote():
            numbers = [event.bid_price, event.bid_size, event.ask_price, event.ask_size]
            assert 0 <= event.update_id < 2**63
        case Book():
            numbers = [*event.bid_prices, *event.bid_sizes, *event.ask_prices, *event.ask_sizes]
            assert len(event.bid_prices) == len(event.bid_sizes) <= 20
            assert len(event.ask_prices) == len(event.ask_sizes) <= 20
            assert 0 <= event.update_id < 2**63
        case ReferencePrice():
            numbers = [price for price in (event.mark_price, event.index_price) if price is not None]
    assert all(0.0 < number < float("inf") for number in numbers)
