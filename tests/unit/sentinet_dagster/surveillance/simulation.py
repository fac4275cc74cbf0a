"""The simulated market through the real parser, judged: 27 minutes to learn from, a calm hour, the script."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache

import polars as pl

from ingest_daemon.events import Quote, Trade
from ingest_daemon.venues import VENUES, Listing
from ingest_daemon.venues.simulated import DEFAULT_INSTRUMENTS, Episode, SimulatedMarket, demo_script
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.alerts import alerts_of
from sentinet_dagster.surveillance.correlation import build_correlations
from sentinet_dagster.surveillance.facts import Facts
from sentinet_dagster.surveillance.features import build_features
from sentinet_dagster.surveillance.findings import build_findings
from sentinet_dagster.surveillance.models import ModelInForce, ModelParameters, build_scores, fit
from sentinet_dagster.surveillance.schema import TIME, Relation
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, START_US, frame

LEARN_UNTIL = START + timedelta(minutes=27)
CALM_FROM = START + timedelta(minutes=30)
LIVE_FROM = START + timedelta(minutes=90)
END = LIVE_FROM + timedelta(minutes=7)
MODEL_ID = "00000000-0000-4000-8000-000000000001"
_PROTOCOLS = {"simulated": "binance_spot", "simulated_usdm": "binance_usdm"}


@dataclass(frozen=True)
class Judged:
    """Frames from START to END."""

    windows: pl.DataFrame
    features: pl.DataFrame
    correlations: pl.DataFrame
    scores: pl.DataFrame

    def findings(self, start=CALM_FROM, end=END) -> pl.DataFrame:
        frames = self.windows, self.features, self.correlations, self.scores
        return build_findings(*frames, instruments(), load_settings({}), start, end, "code")

    def alerts(self, start=CALM_FROM, end=END) -> pl.DataFrame:
        found = self.findings(start, end)
        return alerts_of(found, load_settings({}).cool_downs(found["detector"], instruments()))


@cache
def judged() -> Judged:
    """The market as it is."""
    return judge(windows())


def judge(windows: pl.DataFrame) -> Judged:
    """Windows from START on, through features, correlations, and scores by the model of the true market."""
    features = build_features(windows, START, END)
    return Judged(
        windows,
        features,
        build_correlations(features, START, END),
        build_scores(features, START, END, [model()]),
    )


@cache
def model() -> ModelInForce:
    """Fitted on the 27 minutes; in force from CALM_FROM."""
    features = build_features(windows(), START, LEARN_UNTIL)
    return ModelInForce(MODEL_ID, CALM_FROM, fit(features, ModelParameters(), seed=1))


@cache
def windows() -> pl.DataFrame:
    """Trades and quotes of 12 instruments from START to END, as windows."""
    known = instruments()
    sessions = {}
    for venue, protocol in _PROTOCOLS.items():
        own = known.filter(pl.col("venue") == venue).select("venue_symbol", "instrument_id")
        sessions[venue] = VENUES[protocol].open_session(
            venue, {symbol: Listing(number) for symbol, number in own.iter_rows()}, ["trade", "bookTicker"]
        )
    events: dict[type, list[Trade | Quote]] = {Trade: [], Quote: []}
    for arrived in _market().frames(START_US, _us(END), ["trade", "bookTicker"]):
        for event in sessions[arrived.venue].parse(arrived.text, arrived.received_at):
            events[type(event)].append(event)
    facts = replace(
        Facts.none_of(known),
        trades=_as_frame(events[Trade], schema.TRADES),
        quotes=_as_frame(events[Quote], schema.QUOTES),
    )
    return facts.windows(START, END)


def episodes() -> list[Episode]:
    """What was played, as ground truth."""
    return list(_market().episodes(_us(LIVE_FROM), _us(END)))


def instruments() -> pl.DataFrame:
    copied = ("venue", "symbol", "venue_symbol", "kind", "base", "quote", "tick_size")
    rows = [
        {"instrument_id": number} | {name: getattr(instrument, name) for name in copied}
        for number, instrument in enumerate(DEFAULT_INSTRUMENTS, start=1)
    ]
    return frame(schema.INSTRUMENTS, rows, contract_size=1.0, is_active=True)


def instrument_ids(episode: Episode) -> list[int]:
    ids = {
        (venue, symbol): i
        for venue, symbol, i in instruments().select("venue", "venue_symbol", "instrument_id").iter_rows()
    }
    return [ids[tuple(key)] for key in episode.instruments]


def _market() -> SimulatedMarket:
    return SimulatedMarket(seed=1, anchor_us=START_US, script=demo_script(_us(LIVE_FROM), seed=1))


def _us(moment) -> int:
    return int(moment.timestamp()) * 1_000_000


def _as_frame(events: list[Trade | Quote], relation: Relation) -> pl.DataFrame:
    columns = {}
    for name, dtype in relation.schema.items():
        if name == "time":
            values = [
                event.received_at if event.occurred_at is None else event.occurred_at for event in events
            ]
        else:
            values = [getattr(event, name) for event in events]
        columns[name] = (
            pl.Series(values, dtype=pl.Int64).cast(TIME) if dtype == TIME else pl.Series(values, dtype=dtype)
        )
    return relation.conform(pl.DataFrame(columns))
