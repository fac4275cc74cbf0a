"""How the simulated market behaves: calm where nothing is scripted, every episode plain to see.

The features are computed here, from the frames, as the detectors define them.
"""

from __future__ import annotations

import json
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from ingest_daemon.venues.simulated import (
    DEFAULT_INSTRUMENTS,
    Episode,
    EpisodeKind,
    InstrumentKey,
    SimulatedMarket,
    demo_script,
)
from tests.unit.ingest_daemon.venues.observation import (
    ANCHOR,
    SECOND,
    Quotes,
    fills,
    number_of_window,
    quotes,
    rolling_correlation,
    z_scores,
)

CALM_SEEDS = (1, 2)
CALM_UNTIL = ANCHOR + 3600 * SECOND
LIVE = ANCHOR + 1800 * SECOND
END = LIVE + 420 * SECOND
DEMO_SEEDS = (0, 1, 2)
SPOT, PERPETUAL = "simulated", "simulated_usdm"
LEGS = [
    (InstrumentKey(SPOT, f"{b}USDT"), InstrumentKey(PERPETUAL, f"{b}USDT")) for b in ("BTC", "ETH", "SOL")
]
PAIRS = [(InstrumentKey(SPOT, f"{b}AUSDT"), InstrumentKey(SPOT, f"{b}BUSDT")) for b in ("KS", "DR")]


@cache
def calm(seed: int) -> dict[InstrumentKey, Quotes]:
    return quotes(SimulatedMarket(seed, ANCHOR), CALM_UNTIL)


def pooled(pairs: list[tuple[InstrumentKey, InstrumentKey]]) -> np.ndarray:
    return np.concatenate(
        [
            rolling_correlation(calm(seed)[a].returns_bps, calm(seed)[b].returns_bps)
            for seed in CALM_SEEDS
            for a, b in pairs
        ]
    )


@pytest.mark.parametrize("instrument", DEFAULT_INSTRUMENTS, ids=lambda i: i.symbol)
def test_in_calm_volatility_spread_and_imbalance_are_as_stated(instrument) -> None:
    seen = [calm(seed)[instrument.key] for seed in CALM_SEEDS]
    assert np.concatenate([s.returns_bps for s in seen]).std() == pytest.approx(
        instrument.volatility_bps, rel=0.12
    )
    spread = np.concatenate([s.spread_bps for s in seen])
    assert np.median(spread) == pytest.approx(instrument.spread_bps, rel=0.15)
    assert 0.3 < spread.min() / instrument.spread_bps < 0.8 < 1.4 < spread.max() / instrument.spread_bps < 3.0
    assert np.mean(np.abs(np.concatenate([s.imbalance for s in seen])) > 0.4) < 0.005


def test_in_calm_a_window_three_sigma_out_is_rare() -> None:
    """Measured over 6 h and all instruments: 1 in 10 000."""
    scores = np.concatenate([z_scores(q.mid) for seed in CALM_SEEDS for q in calm(seed).values()])
    assert len(scores) > 15_000
    assert np.mean(np.abs(scores) > 3.0) < 5e-4


def test_legs_of_one_base_move_together_and_bases_do_not() -> None:
    """Measured over 6 h: legs above 0.9 in 99.7 % of the windows, pairs above 0.85 in 99.4 %."""
    legs = pooled(LEGS)
    assert np.mean(legs > 0.9) > 0.98
    assert legs.min() > 0.75
    pairs = pooled(PAIRS)
    assert np.mean(pairs > 0.85) > 0.97
    assert pairs.min() > 0.65
    across = pooled([(LEGS[0][0], LEGS[1][0]), (LEGS[0][0], PAIRS[0][0])])
    assert 0.2 < across.mean() < 0.6


def test_takers_buy_and_sell_alike_with_sizes_around_the_median() -> None:
    trades = fills(SimulatedMarket(1, ANCHOR).frames(ANCHOR, ANCHOR + 600 * SECOND, ("trade",)))
    for instrument in DEFAULT_INSTRUMENTS:
        of_instrument = trades[instrument.key]
        assert len(of_instrument) == pytest.approx(600 * instrument.trades_per_s, rel=0.15)
    buys = [np.array([trade.is_buy for trade in of_instrument]) for of_instrument in trades.values()]
    assert 0.47 < np.concatenate(buys).mean() < 0.53
    repeats = np.concatenate([side[1:] == side[:-1] for side in buys])
    assert 0.52 < repeats.mean() < 0.65  # a little more often than a coin


class Demo(NamedTuple):
    market: SimulatedMarket
    quotes: dict[InstrumentKey, Quotes]
    episodes: tuple[Episode, ...]


@cache
def demo(seed: int) -> Demo:
    market = SimulatedMarket(seed, ANCHOR, demo_script(LIVE, seed))
    whole = [e for e in market.episodes(ANCHOR, END) if e.ends_at + 20 * SECOND <= END]
    return Demo(market, quotes(market, END), tuple(whole))


def played(kind: EpisodeKind) -> list[tuple[int, Episode]]:
    found = [(seed, e) for seed in DEMO_SEEDS for e in demo(seed).episodes if e.kind is kind]
    assert len(found) >= len(DEMO_SEEDS)
    return found


def inside(episode: Episode) -> slice:
    """The windows that lie wholly inside."""
    return slice(number_of_window(episode.starts_at - 1) + 1, number_of_window(episode.ends_at))


def touched(episode: Episode) -> slice:
    return slice(number_of_window(episode.starts_at), number_of_window(episode.ends_at) + 1)


def test_a_volatility_spike_lies_far_beyond_three_sigma_on_every_leg() -> None:
    for seed, episode in played(EpisodeKind.VOLATILITY_SPIKE):
        for key in episode.instruments:
            mid = demo(seed).quotes[key].mid
            scores = z_scores(mid)[touched(episode).start - 59 : touched(episode).stop - 59]
            assert np.max(scores * episode.direction) > 4.5
            before = mid[touched(episode).start - 1]
            move = mid[number_of_window(episode.ends_at) - 1] / before - 1
            assert 0.0040 < move * episode.direction < 0.0072


def test_spoofing_leans_the_book_and_moves_no_price() -> None:
    for seed, episode in played(EpisodeKind.SPOOFING):
        seen = demo(seed).quotes[episode.instruments[0]]
        windows = inside(episode)
        assert windows.stop - windows.start >= 3
        assert np.min(seen.imbalance[windows] * episode.direction) > 0.7
        assert np.max(np.abs(seen.returns_bps[windows.start - 1 : windows.stop - 1])) < 10
        spoofed = [e for e in demo(seed).market.episodes(ANCHOR, END) if e.kind is EpisodeKind.SPOOFING]
        same = [e for e in spoofed if e.instruments == episode.instruments]
        during = np.concatenate([np.arange(len(seen.imbalance))[touched(e)] for e in same])
        assert np.max(np.abs(np.delete(seen.imbalance, during))) < 0.6


def test_a_spread_blow_out_opens_the_spread_and_thins_the_book() -> None:
    for seed, episode in played(EpisodeKind.SPREAD_BLOW_OUT):
        key = episode.instruments[0]
        spread = demo(seed).quotes[key].spread_bps
        before = np.median(spread[touched(episode).start - 60 : touched(episode).start])
        assert spread[inside(episode)].min() > 4 * before
        depth = [
            _notional(demo(seed).market, key, at)
            for at in (episode.starts_at - 10 * SECOND, episode.ends_at - SECOND)
        ]
        assert depth[1] < 0.4 * depth[0]


def _notional(market: SimulatedMarket, key: InstrumentKey, at_us: int) -> float:
    snapshot = json.loads(market.depth_snapshot(*key, at_us))
    return sum(float(p) * float(q) for side in ("bids", "asks") for p, q in snapshot[side])


def test_a_decoupling_breaks_a_correlation_that_was_whole() -> None:
    for seed, episode in played(EpisodeKind.DECOUPLING):
        leaver, mate = (demo(seed).quotes[key] for key in episode.instruments)
        correlation = rolling_correlation(leaver.returns_bps, mate.returns_bps)
        # Entry i of the correlation ends with the return of window i + 24.
        now = correlation[touched(episode).start - 24 : touched(episode).stop - 24 + 2]
        broken = int(np.argmax(now < 0.2))
        assert now.min() < 0.2
        assert broken * 5 <= 65
        slow = correlation[touched(episode).start - 24 - 60 : touched(episode).start - 24 + broken].mean()
        assert slow > 0.8
        distance = np.log(leaver.mid / mate.mid)[touched(episode)]
        assert np.abs(distance - distance[0]).max() < 60e-4  # nothing absurd


def test_a_pump_rushes_up_on_volume_and_falls_back() -> None:
    for seed, episode in played(EpisodeKind.PUMP_AND_DUMP):
        key = episode.instruments[0]
        mid = demo(seed).quotes[key].mid
        windows = touched(episode)
        before = mid[windows.start - 1]
        assert 0.035 < mid[windows].max() / before - 1 < 0.062
        assert abs(mid[windows.stop + 9] / before - 1) < 0.006
        span = demo(seed).market.frames(
            episode.starts_at - 120 * SECOND, episode.ends_at + SECOND, ("trade",)
        )
        trades = fills(span)[key]
        quiet = [t for t in trades if t.at_ms * 1000 < episode.starts_at]
        rise = [t for t in trades if episode.starts_at <= t.at_ms * 1000 < episode.starts_at + 25 * SECOND]
        assert sum(t.size for t in rise) / 25 > 12 * sum(t.size for t in quiet) / 120
        assert np.mean([t.is_buy for t in rise]) > 0.8
        at_once = np.unique([t.at_ms for t in rise if t.is_buy], return_counts=True)[1]
        assert np.sum(at_once > 1) > 20  # rush orders: several buys in one millisecond


def test_nothing_happens_before_the_live_part() -> None:
    scripted = SimulatedMarket(1, ANCHOR, demo_script(LIVE, 1))
    span = (LIVE - 60 * SECOND, LIVE + 11 * SECOND)
    assert list(scripted.frames(*span)) == list(SimulatedMarket(1, ANCHOR).frames(*span))


@pytest.mark.parametrize("seed", range(5))
def test_the_script_opens_with_all_five_kinds_and_goes_on_without_overlap(seed: int) -> None:
    episodes = demo_script(LIVE, seed).between(LIVE, LIVE + 7200 * SECOND)
    opening = [(e.kind.value, (e.starts_at - LIVE) // SECOND) for e in episodes[:5]]
    assert opening == [
        ("volatility_spike", 12),
        ("decoupling", 25),
        ("spoofing", 40),
        ("spread_blow_out", 60),
        ("pump_and_dump", 75),
    ]
    starts = [e.starts_at for e in episodes]
    assert max(np.diff(starts)) <= 35 * SECOND
    group = {i.key: i.group for i in DEFAULT_INSTRUMENTS}
    over: dict[str, int] = {}
    for episode in episodes:
        name = group[episode.instruments[0]]
        assert {group[key] for key in episode.instruments} == {name}
        assert episode.starts_at > over.get(name, 0)
        over[name] = episode.ends_at


@pytest.mark.parametrize(
    ("kind", "rest_s"),
    # The past that a spike stands out from; the slow average of a correlation and what it is made of.
    [(EpisodeKind.VOLATILITY_SPIKE, 5 * 60), (EpisodeKind.DECOUPLING, 22 * 60)],
)
def test_an_episode_does_not_come_in_the_trail_of_another_of_its_kind(kind: EpisodeKind, rest_s: int) -> None:
    ended: dict[tuple[InstrumentKey, ...], int] = {}
    rests = []
    for episode in demo_script(LIVE, 1).between(LIVE, LIVE + 7200 * SECOND):
        if episode.kind is kind:
            if episode.instruments in ended:
                rests.append(episode.starts_at - ended[episode.instruments])
            ended[episode.instruments] = episode.ends_at
    assert rests
    assert min(rests) > rest_s * SECOND


def test_a_script_answers_the_same_whatever_was_asked_before() -> None:
    asked_once = demo_script(LIVE, 3)
    asked_late = demo_script(LIVE, 3)
    asked_late.between(LIVE + 5000 * SECOND, LIVE + 6000 * SECOND)
    span = (LIVE, LIVE + 1000 * SECOND)
    assert list(asked_once.between(*span)) == list(asked_late.between(*span))
    assert [e for e in asked_late.between(*span) if e.kind is EpisodeKind.DECOUPLING]
