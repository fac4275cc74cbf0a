"""The store on a real PostgreSQL: what is written is what is read, once, and the ledger says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ingest_daemon.batcher import Batch, Batcher, Limits
from ingest_daemon.copy_rows import FACTS, Fact, Relation, times_of
from ingest_daemon.errors import StoreRejected, StoreUnavailable
from ingest_daemon.events import (
    Book,
    BookFlow,
    Event,
    FeedGap,
    GapCause,
    Quote,
    ReferencePrice,
    RejectedFrame,
    Trade,
)
from ingest_daemon.store import NOTIFY_CHANNEL, Store
from ingest_daemon.venues import Listing

pytestmark = pytest.mark.integration

START = 1_723_161_254_000_000  # 2024-08-08 23:54:14 UTC
SECOND = 1_000_000
VENUE = "binance"


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store(database_url) as opened:
        yield opened


@pytest.fixture
def reader(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set timezone to 'UTC'")
        yield connection


def batch_of(*events: Event) -> Batch:
    batcher = Batcher(VENUE, Limits())
    assert batcher.add(events, 0) == []
    batch = batcher.flush()
    assert batch is not None
    return batch


def trade(trade_id: int, occurred_at: int = START, price: float = 61_837.63) -> Trade:
    return Trade(1, trade_id, occurred_at, occurred_at + 1_300, price, 0.02, -1, 3)


def moment(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def touched(reader: psycopg.Connection[Any], relation: str) -> list[list[tuple[datetime, datetime]]]:
    rows = reader.execute(
        "select touched from ops.ingest_batches where relation = %s order by batch_id", [relation]
    ).fetchall()
    return [[(span.lower, span.upper) for span in spans] for (spans,) in rows]


def counts(reader: psycopg.Connection[Any], relation: str) -> list[tuple[int, int]]:
    return reader.execute(
        "select rows, duplicates from ops.ingest_batches where relation = %s order by batch_id", [relation]
    ).fetchall()


EVENTS: dict[str, Sequence[Fact]] = {
    "trades": [
        Trade(1, 2**63 - 1, START, START + 7, 0.1 + 0.2, 5e-324, 1, 2**31 - 1),
        Trade(2, 0, START + 1, START, 1.7976931348623157e308, 1.0, 0, 1),
    ],
    "quotes": [
        Quote(1, 5, None, START, 61_837.63, 3.78826, 61_837.64, 1.54698),
        Quote(1, 6, START + 1, START + 2, 61_837.63, 0.1, 61_837.64, 0.3),
        Quote(2, 5, None, START + 3, 2_683.8, 3.0292, 2_683.81, 31.4395),
    ],
    "books": [
        Book(1, 5, START, START + 1, (3.0, 2.0, 0.1 + 0.2), (1.0, 2.0, 3.0), (4.0,), (0.25,)),
        Book(1, 6, None, START + 2, (), (), (4.0, 5.0), (1.0, 9.0)),
        Book(2, 6, START, START + 3, (), (), (), ()),
        Book(2, 7, START, START + 4, (3.5, 2.5, 0.5), (1.0, 2.0, 3.0), (4.5,), (0.75,)),
    ],
    "book_flows": [
        BookFlow(
            1, START, START + 1, 1, 0, False, 0.1 + 0.2, 2.0, 1.5, 0.5, 3, 2, 4, 0.2, 1, 1, 70_000, 3, 1
        ),
        BookFlow(1, START, START + 2, 1, 0, True, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0.0, 0.0, 0.0, None, 0, 0.0),
        BookFlow(2, START, START + 3, -1, 25, False, 1.0, 0.0, 0.0, 9.0, 1, 0, 1, 1.0, 0, 0, None, 0, 0.0),
    ],
    "reference_prices": [
        ReferencePrice(3, START, START + 1, 61_800.25, None, 0.0001, START + 3_600 * SECOND),
        ReferencePrice(3, START + SECOND, START + SECOND, None, 61_799.5, None, None),
        ReferencePrice(4, START, START + 1),
        ReferencePrice(5, None, START + 1, 181.58),
    ],
}


@pytest.mark.parametrize("relation", FACTS, ids=lambda relation: relation.name)
def test_facts_come_out_as_they_went_in(
    store: Store, reader: psycopg.Connection[Any], relation: Relation
) -> None:
    events = EVENTS[relation.name]

    report = store.write(batch_of(*events))

    names = [column.name for column in relation.columns]
    found = reader.execute(
        psycopg.sql.SQL("select {} from market.{} order by instrument_id, received_at").format(
            psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, names)),
            psycopg.sql.Identifier(relation.name),
        )
    ).fetchall()
    assert found == [
        as_row(names, event)
        for event in sorted(events, key=lambda event: (event.instrument_id, event.received_at))
    ]
    assert report.rows == {relation.name: len(events)}
    assert report.duplicates == {relation.name: 0}


def as_row(names: Sequence[str], event: Fact) -> tuple[Any, ...]:
    def value(name: str) -> Any:
        found = times_of([event])[0] if name == "time" else getattr(event, name)
        if name == "time" or name.endswith("_at"):
            return None if found is None else moment(found)
        return list(found) if isinstance(found, tuple) else found

    return tuple(map(value, names))


def test_a_batch_written_again_adds_nothing(store: Store, reader: psycopg.Connection[Any]) -> None:
    batch = batch_of(
        *(event for events in EVENTS.values() for event in events),
        FeedGap(VENUE, "depth", 1, START, START + SECOND, GapCause.SEQUENCE_BREAK),
        FeedGap(VENUE, None, None, START, START + SECOND, GapCause.DISCONNECTED),
        RejectedFrame(VENUE, START, "no price", b"{}"),
    )
    sizes = {
        "trades": 2,
        "quotes": 3,
        "books": 4,
        "book_flows": 3,
        "reference_prices": 4,
        "feed_gaps": 2,
        "rejected_frames": 1,
    }

    first, second = store.write(batch), store.write(batch)

    assert first.rows == sizes
    assert set(first.duplicates.values()) == {0}
    assert second.duplicates == sizes
    assert set(second.rows.values()) == {0}
    for relation, size in sizes.items():
        assert counts(reader, relation) == [(size, 0), (0, size)]
        assert touched(reader, relation)[1] == []
        statement = psycopg.sql.SQL("select count(*) from {}").format(
            psycopg.sql.Identifier("market", relation)
        )
        assert reader.execute(statement).fetchone() == (size,)


def test_a_batch_that_is_partly_there_adds_the_rest(store: Store, reader: psycopg.Connection[Any]) -> None:
    known = [trade(number, START + number * SECOND) for number in range(0, 40, 2)]
    store.write(batch_of(*known))

    everything = [trade(number, START + number * SECOND) for number in range(40)]
    report = store.write(batch_of(*everything, Quote(1, 1, None, START, 1.0, 1.0, 2.0, 1.0)))

    assert report.rows == {"trades": 20, "quotes": 1}
    assert list(report.repeated["trades"]) == list(range(0, 40, 2))
    assert report.duplicates == {"trades": 20, "quotes": 0}
    assert counts(reader, "trades") == [(20, 0), (20, 20)]
    assert touched(reader, "trades")[1] == [(moment(START + SECOND), moment(START + 39 * SECOND + 1))]


def test_the_ledger_names_only_the_spans_with_new_rows(store: Store, reader: psycopg.Connection[Any]) -> None:
    store.write(batch_of(trade(1, START), trade(2, START + 60 * SECOND)))
    store.write(batch_of(trade(2, START + 60 * SECOND), trade(3, START + 120 * SECOND), trade(4, START)))

    assert touched(reader, "trades") == [
        [(moment(at), moment(at + 1)) for at in (START, START + 60 * SECOND)],
        [(moment(at), moment(at + 1)) for at in (START, START + 120 * SECOND)],
    ]


def test_the_ledger_tells_what_is_replayed_from_what_has_just_been_received(
    store: Store, database_url: str, reader: psycopg.Connection[Any]
) -> None:
    with Store(database_url, is_replay=True) as replaying:
        replaying.write(batch_of(trade(1)))
    store.write(batch_of(trade(2)))
    found = reader.execute("select is_replay from ops.ingest_batches order by batch_id").fetchall()
    assert found == [(True,), (False,)]


def test_of_two_rows_with_one_key_in_a_batch_the_first_is_kept(
    store: Store, reader: psycopg.Connection[Any]
) -> None:
    report = store.write(batch_of(trade(1, price=10.0), trade(2, price=20.0), trade(1, price=30.0)))

    assert list(report.repeated["trades"]) == [2]
    assert reader.execute("select trade_id, price from market.trades order by 1").fetchall() == [
        (1, 10.0),
        (2, 20.0),
    ]


def test_gaps_and_rejected_frames_are_kept_as_they_were(
    store: Store, reader: psycopg.Connection[Any]
) -> None:
    frame = bytes(range(256)) * 256  # longer than an index takes, and no text
    store.write(
        batch_of(
            FeedGap(VENUE, None, None, START, START, GapCause.STALE),
            FeedGap(VENUE, "depth", 1, START + 9 * SECOND, START + 20 * SECOND, GapCause.SHED, "why", 12),
            RejectedFrame(VENUE, START, "not\0text \ud800", frame, "trade", 1),
        )
    )

    gaps = reader.execute(
        """
        select venue, channel, instrument_id, started_at, ended_at, cause, detail, lost_events, repaired_at
        from market.feed_gaps order by gap_id
        """
    ).fetchall()
    assert gaps == [
        (VENUE, None, None, moment(START), moment(START), "stale", "", None, None),
        (VENUE, "depth", 1, moment(START + 9 * SECOND), moment(START + 20 * SECOND), "shed", "why", 12, None),
    ]
    rejected = reader.execute(
        "select venue, channel, instrument_id, received_at, error, frame from market.rejected_frames"
    ).fetchall()
    assert rejected == [(VENUE, "trade", 1, moment(START), "not\N{REPLACEMENT CHARACTER}text ?", frame)]
    assert touched(reader, "feed_gaps") == [
        [
            (moment(START), moment(START + 1)),
            (moment(START + 9 * SECOND), moment(START + 20 * SECOND)),
        ]
    ]
    assert touched(reader, "rejected_frames") == [[(moment(START), moment(START + 1))]]


def test_the_ledger_is_of_the_transaction_that_wrote_the_rows(
    store: Store, reader: psycopg.Connection[Any]
) -> None:
    store.write(batch_of(trade(1), Quote(1, 1, None, START + 5, 1.0, 1.0, 2.0, 1.0)))

    rows = reader.execute(
        """
        select b.relation, b.venue, b.xid::text, b.bytes > 0, b.max_received_at
        from ops.ingest_batches as b order by b.batch_id
        """
    ).fetchall()
    xid = reader.execute("select xmin::text from market.trades").fetchone()
    assert xid is not None
    assert rows == [
        ("trades", VENUE, xid[0], True, moment(START + 1_300)),
        ("quotes", VENUE, xid[0], True, moment(START + 5)),
    ]


def test_what_the_schema_refuses_is_rejected_and_leaves_no_trace(
    store: Store, reader: psycopg.Connection[Any]
) -> None:
    reader.execute("alter table market.quotes drop column ask_size")

    with pytest.raises(StoreRejected, match="ask_size"):
        store.write(batch_of(trade(1), Quote(1, 1, None, START, 1.0, 1.0, 2.0, 1.0)))

    assert reader.execute("select count(*) from market.trades").fetchone() == (0,)
    assert reader.execute("select count(*) from ops.ingest_batches").fetchone() == (0,)
    assert store.write(batch_of(trade(1))).rows == {"trades": 1}


def test_a_batch_without_its_ledger_is_not_written_and_the_store_goes_on(
    store: Store, reader: psycopg.Connection[Any]
) -> None:
    reader.execute("alter table ops.ingest_batches add constraint none check (rows < 0)")
    with pytest.raises(StoreRejected, match="none"):
        store.write(batch_of(trade(1)))
    assert reader.execute("select count(*) from market.trades").fetchone() == (0,)
    with pytest.raises(StoreRejected, match="none"):
        store.write(batch_of(trade(1)))

    reader.execute("alter table ops.ingest_batches drop constraint none")
    assert store.write(batch_of(trade(1))).rows == {"trades": 1}
    assert counts(reader, "trades") == [(1, 0)]


def test_a_lost_connection_is_unavailable_and_then_opened_anew(
    store: Store, reader: psycopg.Connection[Any]
) -> None:
    store.write(batch_of(trade(1)))
    killed = reader.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'sentinet-ingest' and datname = current_database()"
    ).fetchall()
    assert killed == [(True,)]

    with pytest.raises(StoreUnavailable):
        store.write(batch_of(trade(2)))

    assert store.write(batch_of(trade(2))).rows == {"trades": 1}


def test_the_active_instruments_are_found_by_the_venues_symbol(
    store: Store, reader: psycopg.Connection[Any]
) -> None:
    ids = dict(
        reader.execute(
            """
            insert into market.instruments (
                venue, symbol, venue_symbol, kind, base, quote, is_active, contract_size, contract_currency
            )
            values ('here', 'A-USD', 'AUSD', 'spot', 'A', 'USD', true, 0.01, default),
                ('here', 'B-USD', 'BUSD', 'spot', 'B', 'USD', false, default, default),
                ('there', 'C-USD', 'CUSD', 'spot', 'C', 'USD', true, 100, 'quote'),
                ('elsewhere', 'D-USD', 'DUSD', 'spot', 'D', 'USD', true, default, default)
            returning venue_symbol, instrument_id
            """
        ).fetchall()
    )

    assert store.load_instruments(["here", "there", "nowhere"]) == {
        "here": {"AUSD": Listing(ids["AUSD"], 0.01, "base")},
        "there": {"CUSD": Listing(ids["CUSD"], 100.0, "quote")},
        "nowhere": {},
    }


def test_it_knows_how_far_each_venue_was_received(store: Store) -> None:
    assert store.reached([VENUE, "other"]) == {}
    late, early = trade(1, START + 2 * SECOND), trade(2, START)
    store.write(batch_of(late))
    store.write(batch_of(early))  # history that is replayed does not set it back

    assert store.reached([VENUE, "other"]) == {VENUE: late.occurred_at}


def test_a_venue_was_received_so_far_as_its_last_batch_was_late(store: Store) -> None:
    store.write(batch_of(trade(1, START)))
    at = START + 60 * SECOND
    mark = ReferencePrice(1, None, at + SECOND, 1.0)  # without a time of the venue's
    flow = BookFlow(
        1, at - 9 * SECOND, at, 1, 0, False, 1.0, 1.0, 1.0, 0.0, 1, 1, 1, 1.0, 0.0, 0.0, None, 0, 0.0
    )
    late, history = trade(2, at - SECOND // 2), trade(3, START - 3_600 * SECOND)
    store.write(batch_of(late, history, mark, flow))

    assert store.reached([VENUE]) == {VENUE: late.occurred_at}
    store.write(batch_of(FeedGap(VENUE, None, None, at, at + 2 * SECOND, GapCause.DISCONNECTED)))
    assert store.reached([VENUE]) == {VENUE: at + 2 * SECOND}


def test_days_without_a_daemon_are_judged_anew_at_both_ends_alone(
    store: Store, reader: psycopg.Connection[Any]
) -> None:
    hour, end = 3_600 * SECOND, START + 72 * 3_600 * SECOND
    store.write(batch_of(FeedGap(VENUE, None, None, START, end, GapCause.NOT_RUNNING)))

    assert touched(reader, "feed_gaps") == [
        [(moment(START), moment(START + hour)), (moment(end - hour), moment(end))]
    ]


def test_a_commit_notifies_once_and_a_batch_that_is_refused_does_not(
    store: Store, reader: psycopg.Connection[Any]
) -> None:
    reader.execute(f"listen {NOTIFY_CHANNEL}")
    store.write(batch_of(trade(1), Quote(1, 1, START, START, 1.0, 1.0, 2.0, 1.0)))
    reader.execute("alter table market.quotes drop column ask_size")
    with pytest.raises(StoreRejected):
        store.write(batch_of(trade(2), Quote(1, 2, START, START, 1.0, 1.0, 2.0, 1.0)))
    store.write(batch_of(trade(3)))
    reader.execute(f"notify {NOTIFY_CHANNEL}, 'the end'")  # they come in the order of the commits
    heard = []
    for notification in reader.notifies():
        if notification.payload == "the end":
            break
        heard.append(notification.channel)
    assert heard == [NOTIFY_CHANNEL] * 2
