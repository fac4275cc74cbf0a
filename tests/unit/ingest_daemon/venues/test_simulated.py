"""The simulated market's promises about bytes: the same however they are asked for, and consistent."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_daemon.venues.simulated import (
    DEFAULT_INSTRUMENTS,
    Episode,
    EpisodeKind,
    FixedScript,
    InstrumentKey,
    SimulatedMarket,
    demo_script,
)
from tests.unit.ingest_daemon.venues.observation import ANCHOR, SECOND, fills

CHANNELS = ("trade", "bookTicker", "depth20", "depth", "markPrice")
CONFIG = Path(__file__).resolve().parents[4] / "config" / "demo"


def market(seed: int = 7, **changes: Any) -> SimulatedMarket:
    changes = {"script": demo_script(ANCHOR, seed), **changes}
    return SimulatedMarket(seed, ANCHOR, **changes)


def messages(frames: Any, ending: str) -> dict[InstrumentKey, list[dict[str, Any]]]:
    found: dict[InstrumentKey, list[dict[str, Any]]] = defaultdict(list)
    for frame in frames:
        symbol, _, channel = frame.stream.partition("@")
        if channel == ending:
            found[InstrumentKey(frame.venue, symbol.upper())].append(json.loads(frame.text)["data"])
    return found


def test_one_seed_is_one_market_and_another_seed_another() -> None:
    span = (ANCHOR, ANCHOR + 20 * SECOND, CHANNELS)
    first = list(market(seed=1).frames(*span))
    assert first == list(market(seed=1).frames(*span))
    assert [f.text for f in first] != [f.text for f in market(seed=2).frames(*span)]


@pytest.fixture(scope="module")
def half_minute() -> list[Any]:
    """Half a half_minute of the demo's script, every channel."""
    return list(market().frames(ANCHOR, ANCHOR + 30 * SECOND, CHANNELS))


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, 30 * SECOND), max_size=6), data=st.data())
def test_how_the_time_is_cut_and_in_which_order_it_is_asked_for_does_not_matter(
    half_minute: list[Any], cuts: list[int], data: st.DataObject
) -> None:
    edges = [0, *sorted(cuts), 30 * SECOND]
    pieces = list(pairwise(edges))
    the_market = market()
    parts = {
        piece: list(the_market.frames(ANCHOR + piece[0], ANCHOR + piece[1], CHANNELS))
        for piece in data.draw(st.permutations(pieces))
    }
    assert [frame for piece in pieces for frame in parts[piece]] == half_minute


@given(channels=st.sets(st.sampled_from(CHANNELS), min_size=1))
@settings(max_examples=10, deadline=None)
def test_a_frame_is_the_same_whatever_else_is_asked_for(half_minute: list[Any], channels: set[str]) -> None:
    wanted = sorted(channels, key=CHANNELS.index)
    found = list(market().frames(ANCHOR + 20 * SECOND, ANCHOR + 23 * SECOND, wanted))
    suffixes = {"depth20": "depth20@100ms", "depth": "depth@100ms", "markPrice": "markPrice@1s"}
    endings = {suffixes.get(name, name) for name in wanted}
    expected = [
        f
        for f in half_minute
        if ANCHOR + 20 * SECOND <= f.received_at < ANCHOR + 23 * SECOND
        and f.stream.partition("@")[2] in endings
    ]
    assert sorted(found) == sorted(expected)


def test_frames_arrive_in_order_after_they_were_sent(half_minute: list[Any]) -> None:
    received = [frame.received_at for frame in half_minute]
    assert received == sorted(received)
    for frame in half_minute:
        data = json.loads(frame.text)["data"]
        if "E" in data:
            assert 0 <= frame.received_at // 1000 - data["E"] <= 100


def test_trade_ids_have_no_hole_and_go_on_where_nobody_looked() -> None:
    span = (ANCHOR, ANCHOR + 120 * SECOND, ("trade",))
    whole = fills(market().frames(*span))
    assert set(whole) == {instrument.key for instrument in DEFAULT_INSTRUMENTS}
    for trades in whole.values():
        ids = [trade.trade_id for trade in trades]
        assert ids == list(range(ANCHOR, ANCHOR + len(ids)))
        assert [trade.at_ms for trade in trades] == sorted(trade.at_ms for trade in trades)
    late = fills(market().frames(ANCHOR + 100 * SECOND, ANCHOR + 120 * SECOND, ("trade",)))
    assert all(trades == whole[key][-len(trades) :] for key, trades in late.items())


def test_a_market_that_starts_later_never_uses_an_id_again() -> None:
    used = fills(market(rate=20).frames(ANCHOR, ANCHOR + 2 * SECOND))
    later = SimulatedMarket(7, ANCHOR + 2 * SECOND, rate=20)
    for key, trades in fills(later.frames(ANCHOR + 2 * SECOND, ANCHOR + 3 * SECOND)).items():
        assert trades[0].trade_id > used[key][-1].trade_id


@pytest.mark.parametrize("instrument", DEFAULT_INSTRUMENTS, ids=lambda i: i.symbol)
def test_the_book_of_diffs_is_the_book_of_every_other_message(
    half_minute: list[Any], instrument: Any
) -> None:
    """A snapshot and the diffs that follow on it make the partial books and the best prices."""
    key, at = instrument.key, ANCHOR + 10 * SECOND + 250_001
    snapshot = json.loads(market().depth_snapshot(*key, at))
    book = {
        side: {float(p): float(q) for p, q in snapshot[name]} for side, name in (("b", "bids"), ("a", "asks"))
    }
    last = snapshot["lastUpdateId"]
    diffs = [d for d in messages(half_minute, "depth@100ms")[key] if d["u"] > last]
    tops = {d.get("lastUpdateId", d.get("u")): d for d in messages(half_minute, "depth20@100ms")[key]}
    tickers = {d["u"]: d for d in messages(half_minute, "bookTicker")[key]}
    assert diffs[0]["U"] <= last + 1 <= diffs[0]["u"]
    previous, compared = None, 0
    for diff in diffs:
        assert previous is None or diff["U"] == previous + 1
        if instrument.is_perpetual:
            assert diff["pu"] == diff["U"] - 1
        previous = diff["u"]
        for side in "ba":
            for price, size in diff[side]:
                if float(size):
                    book[side][float(price)] = float(size)
                else:
                    del book[side][float(price)]
        bids, asks = sorted(book["b"].items(), reverse=True), sorted(book["a"].items())
        assert bids[0][0] < asks[0][0]
        assert len(bids) == len(asks) == 50
        ticker = tickers[previous]
        assert (bids[0], asks[0]) == tuple((float(ticker[p]), float(ticker[q])) for p, q in ("bB", "aA"))
        if previous in tops:
            top = tops[previous]
            for levels, names in ((bids, ("bids", "b")), (asks, ("asks", "a"))):
                shown = top.get(names[0], top.get(names[1]))
                assert [(float(p), float(q)) for p, q in shown] == levels[:20]
            compared += 1
    assert compared > 5


def test_trades_happen_inside_the_book(half_minute: list[Any]) -> None:
    trades = fills(half_minute)
    for key, tickers in messages(half_minute, "bookTicker").items():
        bids = [(d["u"], float(d["b"]), float(d["a"])) for d in tickers]
        inside = outside = 0
        position = 0
        for trade in trades[key]:
            while position + 1 < len(bids) and bids[position + 1][0] // 1000 < trade.at_ms:
                position += 1
            near = bids[max(position - 1, 0) : position + 3]
            if trade.is_buy:
                fits = trade.price >= min(ask for _, _, ask in near)
            else:
                fits = trade.price <= max(bid for _, bid, _ in near)
            inside += fits
            outside += not fits
        assert outside == 0, key
        assert inside > 10


def test_spot_and_futures_speak_as_the_venue_does(half_minute: list[Any]) -> None:
    fields: dict[tuple[str, str], set[str]] = defaultdict(set)
    for frame in half_minute:
        fields[frame.venue, frame.stream.partition("@")[2]].add(" ".join(json.loads(frame.text)["data"]))
    assert {key: list(value) for key, value in fields.items()} == {
        ("simulated", "trade"): ["e E s t p q T m M"],
        ("simulated", "bookTicker"): ["u s b B a A"],
        ("simulated", "depth20@100ms"): ["lastUpdateId bids asks"],
        ("simulated", "depth@100ms"): ["e E s U u b a"],
        ("simulated_usdm", "trade"): ["e E T s t p q X m"],
        ("simulated_usdm", "bookTicker"): ["e u s b B a A T E"],
        ("simulated_usdm", "depth20@100ms"): ["e E T s U u pu b a"],
        ("simulated_usdm", "depth@100ms"): ["e E T s U u pu b a"],
        ("simulated_usdm", "markPrice@1s"): ["e E s p i P r T"],
    }


def test_prices_are_whole_ticks_and_numbers_have_the_venue_s_decimals(half_minute: list[Any]) -> None:
    decimals = {i.key: i.price_decimals for i in DEFAULT_INSTRUMENTS}
    for key, tickers in messages(half_minute, "bookTicker").items():
        for data in tickers:
            fraction = data["b"].split(".")[1]
            shown = 8 if key.venue == "simulated" else decimals[key]
            assert len(fraction) == shown
            assert set(fraction[decimals[key] :]) <= {"0"}


def test_the_rate_multiplies_trades_and_quotes() -> None:
    def count(rate: float, ending: str) -> int:
        return sum(
            f.stream.endswith(ending)
            for f in market(rate=rate).frames(ANCHOR + SECOND, ANCHOR + 11 * SECOND, CHANNELS)
        )

    for ending in ("@trade", "@bookTicker"):
        assert count(30, ending) == pytest.approx(30 * count(1, ending), rel=0.2)
    assert count(30, "@depth20@100ms") == pytest.approx(10 * count(1, "@depth20@100ms"), rel=0.02)
    assert count(30, "@markPrice@1s") == count(1, "@markPrice@1s")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="whole second"):
        SimulatedMarket(1, ANCHOR + 1)
    with pytest.raises(ValueError, match="above 0"):
        SimulatedMarket(1, ANCHOR, rate=0)
    with pytest.raises(ValueError, match="twice"):
        SimulatedMarket(1, ANCHOR, instruments=DEFAULT_INSTRUMENTS[:1] * 2)
    with pytest.raises(ValueError, match="unknown channels"):
        next(market().frames(ANCHOR, ANCHOR + SECOND, ("kline",)))
    with pytest.raises(KeyError):
        market().depth_snapshot("simulated", "NOSUCH", ANCHOR)
    with pytest.raises(ValueError, match="before the anchor"):
        market().depth_snapshot("simulated", "BTCUSDT", ANCHOR - 1)
    with pytest.raises(ValueError, match="end after its start"):
        Episode(EpisodeKind.SPOOFING, (DEFAULT_INSTRUMENTS[0].key,), ANCHOR, ANCHOR, 2.0)
    stranger = Episode(EpisodeKind.SPOOFING, (InstrumentKey("x", "Y"),), ANCHOR, ANCHOR + SECOND, 2.0)
    with pytest.raises(KeyError):
        next(market(script=FixedScript((stranger,))).frames(ANCHOR, ANCHOR + SECOND))


def test_config_demo_names_the_same_instruments() -> None:
    written = yaml.safe_load((CONFIG / "instruments.yaml").read_text())["instruments"]
    assert written == [
        {
            "venue": i.venue,
            "symbol": i.symbol,
            "venue_symbol": i.venue_symbol,
            "kind": i.kind,
            "base": i.base,
            "quote": i.quote,
            "tick_size": i.tick_size,
        }
        for i in DEFAULT_INSTRUMENTS
    ]


def test_config_demo_subscribes_to_what_the_market_sends(half_minute: list[Any]) -> None:
    written = yaml.safe_load((CONFIG / "venues.yaml").read_text())["venues"]
    assert set(written) == {i.venue for i in DEFAULT_INSTRUMENTS}
    for venue, entry in written.items():
        sent = {frame.stream.split("@")[1] for frame in half_minute if frame.venue == venue}
        assert set(entry["channels"]) == sent - {"depth"}
