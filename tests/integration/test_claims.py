"""Turns on the plan: whoever takes them, whenever one dies, a range is claimed by one and never lost."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from ingest_daemon.store import Store
from sentinet_dagster import claims
from sentinet_dagster.claims import Turn, take_turn
from sentinet_dagster.partitions import in_microseconds
from sentinet_dagster.planning import Outcome
from tests.integration.judging import UNHURRIED
from tests.integration.market_facts import SECOND, batch, events

pytestmark = pytest.mark.integration

START = in_microseconds(datetime(2024, 8, 9, 10, tzinfo=UTC))
Connection = psycopg.Connection[DictRow]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as opened:
        opened.execute(
            "insert into market.instruments (instrument_id, venue, symbol, venue_symbol, kind, base, quote)"
            " overriding system value values (1, 'binance', 'BTC-USDT', 'BTCUSDT', 'spot', 'BTC', 'USDT')"
        )
        with Store(database_url) as store:
            store.write(batch(list(events((1,), START, 63))))
        yield opened


def turn(connection: Connection, outcome: Outcome | None = None, *, anew: bool = False) -> Turn | None:
    found = {} if outcome is None else dict.fromkeys(claimed(connection), outcome)
    return take_turn(connection, lambda keys: found, UNHURRIED, anew=anew)


def claimed(connection: Connection) -> list[str]:
    (row,) = connection.execute("select state -> 'flights' as flights from ops.plans").fetchall()
    return [flight[0] for flight in row["flights"].values()]


def test_the_first_turn_must_be_told_that_it_is(connection: Connection) -> None:
    assert turn(connection) is None
    begun = turn(connection, anew=True)
    assert begun is not None
    assert [(r.start, r.end) for r in begun.requests] == [(START, START + 60 * SECOND)]
    assert claimed(connection) == [begun.requests[0].run_key]


def test_of_many_turns_at_once_one_claims(connection: Connection, database_url: str) -> None:
    connection.execute("insert into ops.plans (plan, state) values ('judge_windows', '{}')")
    together = Barrier(6)

    def claim() -> int:
        with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as mine:
            together.wait()
            taken = take_turn(mine, lambda keys: dict.fromkeys(keys, Outcome.RUNNING), UNHURRIED)
        assert taken is not None
        return len(taken.requests)

    with ThreadPoolExecutor(6) as threads:
        claims = [future.result() for future in [threads.submit(claim) for _ in range(6)]]
    assert sorted(claims) == [0, 0, 0, 0, 0, 1]


def test_a_turn_that_does_not_end_has_claimed_nothing(connection: Connection) -> None:
    begun = turn(connection, anew=True)
    assert begun is not None
    before = connection.execute("select state from ops.plans").fetchall()

    def dagster_is_away(keys: object) -> dict[str, Outcome]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        take_turn(connection, dagster_is_away, UNHURRIED)
    assert connection.execute("select state from ops.plans").fetchall() == before


def test_what_was_claimed_and_never_launched_is_found(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LAUNCHED_WITHIN_S", 3600.0)
    begun = turn(connection, anew=True)
    assert begun is not None
    at_once = turn(connection)
    assert at_once is not None
    assert (at_once.requests, at_once.unlaunched) == ([], [])  # it may be about to launch
    monkeypatch.setattr(claims, "LAUNCHED_WITHIN_S", 0.0)
    later = turn(connection)
    assert later is not None
    assert later.requests == []
    assert [(r.start, r.end, r.attempt) for r in later.unlaunched] == [(START, START + 60 * SECOND, 1)]
    known = turn(connection, Outcome.RUNNING)
    assert known is not None
    assert known.unlaunched == []


def test_a_memory_that_is_forgotten_judges_all_anew(connection: Connection) -> None:
    for _ in range(2):
        begun = turn(connection, anew=True)
        assert begun is not None
        assert [(r.start, r.end) for r in begun.requests] == [(START, START + 60 * SECOND)]
        done = turn(connection, Outcome.SUCCEEDED)
        assert done is not None
        assert (done.requests, claimed(connection)) == ([], [])
