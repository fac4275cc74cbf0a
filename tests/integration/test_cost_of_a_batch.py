"""What a micro-batch reads is bounded by its range and the look-backs, not by the day nor by history.

Every statement of a real micro-batch is explained: how many rows its scans touch, how many pages. Then the
tables are given a day of history before, and the same batch is explained again. No clock is looked at.

    SENTINET_TEST_HISTORY_DAYS=30 pytest tests/integration/test_cost_of_a_batch.py -s

gives them more of it (minutes, and 4 GB), holds the batch as a whole against what it was, and prints that,
with the CPU seconds of the run.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import psycopg
import pytest
from dagster import RunRequest

from ingest_daemon.store import Store
from sentinet_dagster.partitions import in_microseconds, tagged_range
from sentinet_dagster.queries import queries
from sentinet_dagster.resources import Timescale
from sentinet_dagster.runtime.cpu_meter import use_of
from sentinet_dagster.surveillance import schema
from tests.integration.judging import Desk, open_desk
from tests.integration.market_facts import SECOND, batch, events

pytestmark = pytest.mark.integration

START = datetime(2024, 8, 9, 10, tzinfo=UTC)
MINUTES = 45  # more than all look-backs together
DAYS = int(os.environ.get("SENTINET_TEST_HISTORY_DAYS", "1"))
COPIES = 32 * DAYS
TIMES = {
    "market.trades": ("time", "occurred_at", "received_at"),
    "market.quotes": ("time", "occurred_at", "received_at"),
    "market.books": ("time", "occurred_at", "received_at"),
    "surveillance.windows": ("window_start",),
    "surveillance.features": ("window_start",),
    "surveillance.correlations": ("window_start",),
    "surveillance.scores": ("window_start",),
    "surveillance.findings": ("window_start",),
    "ops.ingest_batches": ("max_received_at", "committed_at"),
}
READS_A_RELATION = 3  # at most: `features` by correlations, scores and findings
SET_ASIDE = "quarantined_facts"
PAGES_OF_A_PROBE = 3  # the levels of its B-tree
PAGES_OF_INDEXES = 24  # a few levels of B-trees, a few pages of block ranges
ROWS_OF_BLOCK_RANGES = (
    2 * 32 * 80
)  # facts are found by ranges of 32 pages, of which two may be looked through


@dataclass(frozen=True)
class Statement:
    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Cost:
    """Of one statement: rows that its scans touched, pages that it looked at.

    `probes` are pages looked at for what is set aside. Whether that is looked up once, or once a row of the
    batch, the planner decides by how many rows it guesses, and that hangs on the chance of a sample.
    """

    rows: int
    pages: int
    probes: int
    found: int  # rows of its answer


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """All but the last ten seconds of the market are judged; their batch is due."""
    facts = list(events((1, 2), in_microseconds(START), MINUTES * 60))
    last = in_microseconds(START) + (MINUTES * 60 - 10) * SECOND
    with open_desk(database_url, ("BTC", "ETH")) as opened, Store(database_url) as store:
        store.write(batch([fact for fact in facts if fact.received_at < last]))  # type: ignore[union-attr]
        (first,) = opened.tick()
        assert opened.run(first).success
        store.write(batch([fact for fact in facts if fact.received_at >= last]))  # type: ignore[union-attr]
        yield opened


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """The statements of runs, as they are made."""
    made: list[Statement] = []
    read, fetch, replace = Timescale.read, Timescale.fetch, Timescale.replace

    def read_and_record(self: Timescale, relation: Any, query: str, **parameters: Any) -> Any:
        made.append(Statement(query, parameters))
        return read(self, relation, query, **parameters)

    def fetch_and_record(self: Timescale, query: str, **parameters: Any) -> Any:
        made.append(Statement(query, parameters))
        return fetch(self, query, **parameters)

    def replace_and_record(
        self: Timescale, relation: Any, frame: Any, start: Any, end: Any, *rest: Any
    ) -> None:
        made.append(Statement(f"replace {relation.name}", {"start": start, "end": end}))
        replace(self, relation, frame, start, end, *rest)

    monkeypatch.setattr(Timescale, "read", read_and_record)
    monkeypatch.setattr(Timescale, "fetch", fetch_and_record)
    monkeypatch.setattr(Timescale, "replace", replace_and_record)
    return made


def test_a_batch_costs_the_same_at_the_first_hour_and_after_days(
    desk: Desk, recorded: list[Statement]
) -> None:
    (request,) = desk.tick()
    recorded.clear()
    assert desk.run(request).success
    statements = [each for each in recorded if "lock" not in each.name]
    start, end = tagged_range(request.tags)  # type: ignore[misc]
    assert end - start == timedelta(seconds=10)

    reads = Counter(each.name for each in statements if each.name in ("trades", "quotes", "books"))
    assert reads == {"trades": 1, "quotes": 1, "books": 1}
    assert (
        max(Counter(each.name for each in statements if each.name != "instruments").values())
        <= READS_A_RELATION
    )

    tidy(desk)
    before, cpu_before = [cost(desk, each) for each in statements], cpu_s(desk, request)
    add_history(desk)
    tidy(desk)
    after, cpu_after = [cost(desk, each) for each in statements], cpu_s(desk, request)
    told = {"days": DAYS, "pages": [sum(each.pages for each in costs) for costs in (before, after)]}
    told["rows"] = [sum(each.rows for each in costs) for costs in (before, after)]
    print(json.dumps(told | {"cpu_s": [cpu_before, cpu_after]}))
    for statement, early, late in zip(statements, before, after, strict=True):
        assert late.rows <= 1.2 * early.rows + ROWS_OF_BLOCK_RANGES, (statement, early, late)
        # On plain tables the index of block ranges is read whole: in a month a hundred pages.
        assert late.pages <= 1.2 * early.pages + PAGES_OF_INDEXES or DAYS > 1, (statement, early, late)
        assert late.probes <= PAGES_OF_A_PROBE * max(1, late.found), (statement, early, late)
    assert sum(each.pages for each in after) <= 1.2 * sum(each.pages for each in before) + PAGES_OF_INDEXES
    assert desk.fetch("select count(*) as n from market.trades")[0]["n"] / 10 > ROWS_OF_BLOCK_RANGES


def cpu_s(desk: Desk, request: RunRequest) -> list[float]:
    """CPU seconds of the run, here and at the server: the middle one of ten, and the least. A day's are not
    looked at: no runs."""
    if DAYS == 1:
        return []
    server = psutil.Process(desk.fetch("select pg_backend_pid() as pid")[0]["pid"]).ppid()
    found = []
    for _ in range(10):
        began = time.process_time() + use_of(server).cpu_s  # type: ignore[union-attr]
        assert desk.run(request).success
        found.append(time.process_time() + use_of(server).cpu_s - began)  # type: ignore[union-attr]
    return [round(statistics.median(found), 3), round(min(found), 3)]


def tidy(desk: Desk) -> None:
    for table in [*TIMES, "surveillance.alerts", "surveillance.alert_events"]:
        desk.fetch(f"vacuum (analyze) {table}")  # which also brings the block ranges up to date


def add_history(desk: Desk) -> None:
    """The same market before, over and over; as it would have come: the oldest rows lie first."""
    for table, times in TIMES.items():
        columns = [
            row["name"]
            for row in desk.fetch(
                "select attname as name from pg_attribute where attrelid = %s::regclass and attnum > 0"
                " and not attisdropped and attidentity = ''",
                table,
            )
        ]
        past = ", ".join(
            f"{name} - n * interval '{MINUTES} minutes'"
            if name in times
            else "'3'::xid8"
            if name == "xid"
            else "'{}'::tstzmultirange"
            if name == "touched"
            else name
            for name in columns
        )
        names, key = ", ".join(columns), times[0]
        desk.fetch(f"create table kept as select {names} from {table} order by {key}")
        desk.fetch(f"truncate {table}")
        desk.fetch(
            f"insert into {table} ({names}) select {past} from kept"
            f" cross join generate_series({COPIES}, 1, -1) as n"
            f" order by {key} - n * interval '{MINUTES} minutes'"
        )
        desk.fetch(f"insert into {table} ({names}) select {names} from kept order by {key}")
        desk.fetch("drop table kept")


def cost(desk: Desk, statement: Statement) -> Cost:
    """What the server does for it; nothing is changed."""
    with psycopg.connect(desk.url) as connection:
        connection.execute("set time zone 'UTC'")
        if statement.name.startswith("replace "):
            table = statement.name.removeprefix("replace ")
            sql, parameters = (
                f"delete from {table} where window_start >= %(start)s and window_start < %(end)s",
                dict(statement.parameters),
            )
        elif statement.name in READ_AS_FRAMES:
            query = queries()[statement.name]
            for name in query.parameters:
                given = statement.parameters[name]
                value = given if isinstance(given, str) else given.isoformat()
                connection.execute("select set_config(%s, %s, false)", (f"sentinet.{name}", value))
            sql, parameters = query.sql_of_settings, None
        else:
            sql, parameters = queries()[statement.name].sql, dict(statement.parameters)
        plan = connection.execute(f"explain (analyze, buffers, timing off, format json) {sql}", parameters)
        (row,) = plan.fetchall()
        connection.rollback()
    (root,) = row[0] if not isinstance(row[0], str) else json.loads(row[0])
    probes = sum(pages(node) for node in nodes(root["Plan"]) if node.get("Relation Name") == SET_ASIDE)
    return Cost(
        sum(map(rows_of, nodes(root["Plan"]))),
        pages(root["Plan"]) - probes,
        probes,
        int(root["Plan"]["Actual Rows"]),
    )


READ_AS_FRAMES = {
    *(relation.name.split(".")[1] for relation in schema.RELATIONS),
    "standing_alerts",
    "firings",
}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def rows_of(node: dict[str, Any]) -> int:
    """The rows that a scan of a table looked at, whatever became of them."""
    if "Relation Name" not in node or "Scan" not in node["Node Type"]:
        return 0
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return round((node["Actual Rows"] + removed) * node["Actual Loops"])


def pages(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])
