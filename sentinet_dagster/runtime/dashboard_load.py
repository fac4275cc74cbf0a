"""`sentinet benchmark dashboards`: analysts who look at dashboards that refresh themselves, all at once.

What lives here: when who asks for what, and how long it takes. What never does: what is asked
(`superset/questions.py`), printing.

An analyst is a browser with one tab of one dashboard open; analysts take the tabs of all dashboards in turn
and begin one after the other within an interval. A refresh is as Superset's front end does it: of the charts
of the open tab, spread over five seconds or a fifth of the interval, whichever is longer, over six
connections at most; what the filters offer is not asked for again. It takes no result by force: Superset may
answer from its cache. All of them are the user `analyst`, whose rows and cache entries any analyst with the
same roles has.

`chart_query_s` is measured from the moment a chart is due to the whole answer, waiting for a connection
included. A refresh that is not over when the next one is due lets that one out: `refreshes_left_out`.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from sentinet_dagster.runtime.errors import ProcessFailed, UserError
from sentinet_dagster.superset import questions
from sentinet_dagster.superset.bundle import Bundle, identifier, read_bundle
from sentinet_dagster.superset.client import Superset, SupersetError, SupersetUnavailable, reason
from sentinet_dagster.superset.target import ANALYST_NAME, Target
from sentinet_dagster.surveillance.evaluation import percentile

__all__ = ["Options", "measure_dashboards"]

CONNECTIONS: Final = 6  # of a browser to one host
_PATH: Final = "/api/v1/chart/data"
_SPREAD_S: Final = 5.0
_SPREAD: Final = 0.2  # of the interval
_SHORTEST_S: Final = 6.0
_LONGEST_S: Final = 600.0  # a session lasts fifteen minutes
_SLOWEST: Final = 5


@dataclass(frozen=True, slots=True)
class Options:
    """How many analysts, how often, for how long."""

    analysts: int
    every_s: float
    for_s: float

    def __post_init__(self) -> None:
        """Raises UserError: it cannot be measured so."""
        if self.every_s < _SHORTEST_S:
            raise UserError(f"--every {self.every_s:g}s: write {_SHORTEST_S:g}s or more, such as 10s")
        if not self.every_s <= self.for_s <= _LONGEST_S:
            raise UserError(
                f"--for {self.for_s:g}s: write {self.every_s:g}s (one refresh) to {_LONGEST_S:g}s, such as 2m"
            )


@dataclass(frozen=True, slots=True)
class Question:
    """What a browser posts for one chart."""

    chart: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """How one question went."""

    chart: str
    seconds: float
    from_cache: bool = False
    failure: str = ""


@dataclass(slots=True)
class Tally:
    """What all analysts saw."""

    answers: list[Answer] = field(default_factory=list)
    refreshes: int = 0
    left_out: int = 0


def measure_dashboards(target: Target, options: Options, *, elsewhere: bool = False) -> dict[str, Any]:
    """Let analysts look at a Superset that runs, and see how long its charts take.

    Args:
        target: the Superset, and the password of its user `analyst`.
        options: how many, how often, for how long.
        elsewhere: it may be on another machine.

    Raises:
        UserError: it is on another machine, is not there, or lacks our dashboards; the password is missing.
        ProcessFailed: it refuses.
    """
    if not elsewhere and not is_here(target.url):
        raise UserError(f"{target.url} is not on this machine: --elsewhere allows the load there, too")
    if not target.analyst_password:
        raise UserError(
            f"SENTINET_SUPERSET_ANALYST_PASSWORD is not set: want the password of the user {ANALYST_NAME}"
        )
    try:
        with Superset(target.url, ANALYST_NAME, target.analyst_password) as session:
            views = _views(session, read_bundle())
            began = time.monotonic()
            tally = asyncio.run(_look(session, views, options))
            return summary(options, tally, time.monotonic() - began)
    except SupersetUnavailable as error:
        raise UserError(str(error)) from None
    except SupersetError as error:
        raise ProcessFailed("superset", str(error)) from None


def is_here(url: str) -> bool:
    """Whether an address is of the loopback interface.

    >>> is_here("http://127.0.0.1:8088"), is_here("http://[::1]:8088"), is_here("https://superset.example")
    (True, True, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def spread(charts: int, every_s: float) -> Iterator[float]:
    """When each chart of a refresh is asked for, in seconds from its beginning.

    >>> list(spread(3, 10.0)), list(spread(2, 60.0)), list(spread(1, 10.0))
    ([0.0, 2.5, 5.0], [0.0, 12.0], [0.0])
    """
    step = max(_SPREAD * every_s, _SPREAD_S) / max(charts - 1, 1)
    return (number * step for number in range(charts))


def summary(options: Options, tally: Tally, seconds: float) -> dict[str, Any]:
    """What is printed. Failures count among the requests, not among the times."""
    good = [answer for answer in tally.answers if not answer.failure]
    charts: dict[str, list[float]] = {}
    for answer in good:
        charts.setdefault(answer.chart, []).append(answer.seconds)
    slowest = {chart: _percentiles(taken)["p95"] or 0.0 for chart, taken in charts.items()}
    failures = Counter(answer.failure for answer in tally.answers if answer.failure)
    return {
        "analysts": options.analysts,
        "every_s": options.every_s,
        "for_s": options.for_s,
        "charts": len({answer.chart for answer in tally.answers}),
        "requests": len(tally.answers),
        "failed": failures.total(),
        "failures": dict(failures.most_common()),
        "requests_per_s": round(len(tally.answers) / seconds, 2),
        "from_cache": sum(answer.from_cache for answer in good),
        "refreshes": tally.refreshes,
        "refreshes_left_out": tally.left_out,
        "chart_query_s": _percentiles([answer.seconds for answer in good]),
        "slowest_p95_s": dict(sorted(slowest.items(), key=lambda each: -each[1])[:_SLOWEST]),
    }


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    found = {name: percentile(values, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))}
    return {name: None if value is None else round(value, 3) for name, value in found.items()}


def _views(session: Superset, bundle: Bundle) -> list[list[Question]]:
    """The charts of each tab, as a browser asks for them."""
    datasets = session.ids("dataset")
    numbers = session.ids("chart")
    first = {
        slug: [
            (choice, value)
            for choice in questions.choices(dashboard)
            for value in _first_value(session, _source(datasets, choice.dataset), choice)
        ]
        for slug, dashboard in bundle.dashboards.items()
    }

    def question(tab: questions.Tab, slug: str) -> Question:
        chart = bundle.charts[slug]
        shown = questions.time_range(bundle.dashboards[tab.dashboard], slug)
        asked = questions.queries(chart, shown, questions.filters_of(first[tab.dashboard], slug))
        form = {"slice_id": _number(numbers, "chart", slug), "viz_type": chart.document["viz_type"]}
        body = _body(_source(datasets, chart.dataset), asked) | {"form_data": form}
        return Question(slug, json.dumps(body).encode())

    return [[question(tab, slug) for slug in tab.charts] for tab in questions.tabs(bundle)]


def _first_value(session: Superset, source: Mapping[str, Any], choice: questions.Choice) -> list[object]:
    """One value or none."""
    answer = session.post("chart/data", _body(source, [choice.query()]))
    return [row[choice.column] for row in answer["result"][0]["data"][:1]]


def _body(source: Mapping[str, Any], asked: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "datasource": source,
        "force": False,
        "queries": asked,
        "result_format": "json",
        "result_type": "full",
    }


def _source(datasets: Mapping[str, int], slug: str) -> dict[str, Any]:
    return {"id": _number(datasets, "dataset", slug), "type": "table"}


def _number(there: Mapping[str, int], kind: str, slug: str) -> int:
    try:
        return there[identifier(kind, slug)]
    except KeyError:
        raise UserError(f"this Superset has no {kind} {slug}: run `sentinet dashboards publish`") from None


async def _look(session: Superset, views: Sequence[Sequence[Question]], options: Options) -> Tally:
    tally = Tally()
    begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(options.analysts):
            first = begin + options.every_s * number / options.analysts
            view = views[number % len(views)]
            group.create_task(_analyst(session, view, options, first, begin + options.for_s, tally))
    return tally


async def _analyst(
    session: Superset, view: Sequence[Question], options: Options, due: float, end: float, tally: Tally
) -> None:
    async with session.in_parallel(CONNECTIONS) as http:
        while due < end:
            async with asyncio.TaskGroup() as group:
                for question, after in zip(view, spread(len(view), options.every_s), strict=True):
                    group.create_task(_ask(http, question, due + after, tally))
            tally.refreshes += 1
            left_out = max(0, math.ceil((time.monotonic() - due) / options.every_s) - 1)
            tally.left_out += left_out
            due += options.every_s * (left_out + 1)


async def _ask(http: httpx.AsyncClient, question: Question, due: float, tally: Tally) -> None:
    await asyncio.sleep(max(0.0, due - time.monotonic()))
    from_cache, failure = False, ""
    try:
        response = await http.post(_PATH, content=question.body, headers={"Content-Type": "application/json"})
        if response.is_success:
            from_cache = all(each["is_cached"] for each in response.json()["result"])
        else:
            failure = f"{question.chart}: {response.status_code}: {reason(response)}"
    except httpx.TransportError as error:
        failure = f"{question.chart}: {type(error).__name__}: {error}"
    tally.answers.append(Answer(question.chart, time.monotonic() - due, from_cache, failure))
