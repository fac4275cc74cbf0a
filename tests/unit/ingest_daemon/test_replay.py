"""Replay without a database: recordings read, merged, paced, and every frame accounted for."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_daemon.batcher import Batch, Limits
from ingest_daemon.errors import ConfigError, RecordingError
from ingest_daemon.events import FeedGap, GapCause, Trade
from ingest_daemon.recording import (
    Answer,
    Closed,
    Connection,
    Gap,
    Missed,
    Note,
    Repair,
    Step,
    answer_of,
    file_name,
    line_of,
)
from ingest_daemon.replay import ReplayReport, StreamReport, read_recording, replay_files
from ingest_daemon.venues import Listing

START_NS = 1_723_161_254_000_000_000
VENUES = {"binance_spot": "here", "binance_usdm": "there"}


@dataclass
class Written:
    repeated: Mapping[str, Sequence[int]]


@dataclass
class Memory:
    """A sink that keeps trades by their id, as the database does by its unique key."""

    symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT")
    batches: list[Batch] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def load_instruments(self, venues: Iterable[str]) -> dict[str, dict[str, Listing]]:
        return {venue: {symbol: Listing(at) for at, symbol in enumerate(self.symbols)} for venue in venues}

    def write(self, batch: Batch) -> Written:
        self.batches.append(batch)
        repeated = []
        for position, trade in enumerate(batch.trades):
            key = (trade.instrument_id, trade.trade_id)
            if key in self.seen:
                repeated.append(position)
            self.seen.add(key)
        return Written({"trades": repeated})

    @property
    def trades(self) -> list[tuple[int, int]]:
        return [(each.instrument_id, each.trade_id) for batch in self.batches for each in batch.trades]


def trade(trade_id: int, symbol: str = "BTCUSDT", price: str = "61837.63") -> str:
    return (
        f'{{"stream":"{symbol.lower()}@trade","data":{{"e":"trade","E":1723161255343,"s":"{symbol}",'
        f'"t":{trade_id},"p":"{price}","q":"0.02","T":1723161255342,"m":true,"M":true}}}}'
    )


def record(path: Path, frames: Iterable[tuple[float, str]]) -> Path:
    """A recording; times in seconds after START_NS."""
    lines = "".join(f"{START_NS + int(second * 1e9)} {frame}\n" for second, frame in frames)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def totals(report: ReplayReport) -> dict[str, tuple[int, ...]]:
    return {name: msgspec.structs.astuple(stream) for name, stream in report.streams.items()}


@pytest.mark.parametrize("name", ["a.gz", "a.txt"])
def test_a_recording_is_read_line_by_line(tmp_path: Path, name: str) -> None:
    path = record(tmp_path / name, [(0, "{}"), (0.0000019, '{"a b": 1}')])

    assert list(read_recording(path)) == [
        (b"{}", START_NS // 1_000),
        (b'{"a b": 1}', START_NS // 1_000 + 1),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 {}\nnonsense\n", "line 2: not `<ns since 1970 UTC> <frame>`"),
        (b"1 {}\n\n2 {}\n", "line 2: not"),
        (b"-5 {}\n", "line 1: not"),
        (b"1\n", "line 1: not"),
    ],
)
def test_a_line_without_the_form_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)

    with pytest.raises(RecordingError) as caught:
        list(read_recording(path))

    assert str(caught.value).startswith(f"{path}, {message}")


def test_a_torn_archive_is_named_with_the_line_it_is_whole_to(tmp_path: Path) -> None:
    path = record(tmp_path / "a.gz", [(second, trade(second)) for second in range(1_000)])
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(RecordingError, match=r"a\.gz, after line \d+: the end is missing"):
        list(read_recording(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"a\.gz, after line 0: No such file"):
        list(read_recording(tmp_path / "a.gz"))


def test_recordings_are_merged_by_receive_time_and_then_by_file(tmp_path: Path) -> None:
    sink = Memory()
    first = record(tmp_path / "a", [(1, trade(1)), (3, trade(3)), (3, trade(4))])
    second = record(tmp_path / "b.gz", [(2, trade(7, "ETHUSDT")), (3, trade(8, "ETHUSDT"))])

    report = replay_files([first, second], sink, VENUES)

    assert sink.trades == [(0, 1), (1, 7), (0, 3), (0, 4), (1, 8)]
    assert (report.first_received_at, report.last_received_at) == (
        START_NS // 1_000 + 1_000_000,
        START_NS // 1_000 + 3_000_000,
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.integers(0, 6))), st.integers(1, 5))
def test_every_frame_is_a_row_or_a_duplicate_of_its_own_stream(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[str, int]], rows: int
) -> None:
    path = record(
        tmp_path_factory.mktemp("recording") / "a",
        [(0, trade(99)), *((at, trade(number, symbol)) for at, (symbol, number) in enumerate(sent))],
    )
    sent = [("BTCUSDT", 99), *sent]

    report = replay_files([path], Memory(), VENUES, limits=Limits(rows=rows))

    for symbol in {symbol for symbol, _ in sent}:
        numbers = [number for each, number in sent if each == symbol]
        assert report.streams[f"here/{symbol.lower()}@trade"] == StreamReport(
            frames=len(numbers), rows=len(set(numbers)), duplicates=len(numbers) - len(set(numbers))
        )
    assert sum(stream.frames for stream in report.streams.values()) == len(sent)


def test_a_frame_that_cannot_be_parsed_is_refused_and_kept(tmp_path: Path) -> None:
    sink = Memory()
    broken = trade(2, price="-1")
    path = record(
        tmp_path / "a", [(0, trade(1)), (1, broken), (2, "not JSON"), (3, '{"result":null,"id":1}')]
    )

    report = replay_files([path], sink, VENUES)

    assert totals(report) == {"here/btcusdt@trade": (2, 1, 0, 0, 1), "here/other": (2, 0, 0, 0, 1)}
    (batch,) = sink.batches
    assert [(each.channel, each.frame) for each in batch.rejected_frames] == [
        ("btcusdt@trade", broken.encode()),
        (None, b"not JSON"),
    ]


def test_it_is_paced_by_receive_time(tmp_path: Path) -> None:
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    path = record(tmp_path / "a", [(0, trade(1)), (4, trade(2)), (4.0001, trade(3)), (10, trade(4))])
    sink = Memory()

    replay_files([path], sink, VENUES, speed=2.0, clock=lambda: now[0], sleep=sleep)

    assert slept == pytest.approx([2.0, 3.0])
    assert sum(slept) == pytest.approx(5.0)


def test_what_becomes_too_old_while_sleeping_is_written_before(tmp_path: Path) -> None:
    now = [0.0]
    sink = Memory()
    written_before: list[int] = []

    def sleep(seconds: float) -> None:
        written_before.append(len(sink.trades))
        now[0] += seconds

    path = record(tmp_path / "a", [(at, trade(number)) for number, at in enumerate([0, 1, 1.1, 2, 2.2])])
    replay_files(
        [path], sink, VENUES, speed=1.0, limits=Limits(age_us=500_000), clock=lambda: now[0], sleep=sleep
    )

    assert written_before == [1, 1, 3, 3]
    assert len(sink.trades) == 5


def test_an_instrument_that_is_not_watched_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    sink = Memory(symbols=["BTCUSDT"])
    path = record(tmp_path / "a", [(0, trade(1)), (1, trade(2, "ETHUSDT"))])

    with pytest.raises(ConfigError, match=r"ETHUSDT of here is not watched; add .* to instruments\.yaml"):
        replay_files([path], sink, VENUES)

    assert sink.batches == []


def test_a_protocol_that_no_venue_speaks_is_named(tmp_path: Path) -> None:
    path = record(tmp_path / "a", [(0, trade(1))])

    with pytest.raises(ConfigError, match="recorded from binance_spot, but no venue"):
        replay_files([path], Memory(), {"binance_usdm": "there"})


def test_frames_that_nobody_recognises_are_told_of(tmp_path: Path) -> None:
    path = record(tmp_path / "a", [(0, '{"channel":"trades"}')])

    with pytest.raises(RecordingError, match=r"no frame of a protocol known \(binance_spot, binance_usdm, "):
        replay_files([path], Memory(), VENUES)


# Recordings that the daemon made.

CHANNELS = ("trade", "depth")
SNAPSHOT = b'{"lastUpdateId":10,"bids":[["99.0","1.0"]],"asks":[["101.0","2.0"]]}'


def diff(first: int, last: int, symbol: str = "BTCUSDT") -> bytes:
    return (
        f'{{"stream":"{symbol.lower()}@depth@100ms","data":{{"e":"depthUpdate","E":1723161255208,"s":"{symbol}",'
        f'"U":{first},"u":{last},"b":[["100.0","3.0"]],"a":[]}}}}'
    ).encode()


OPENED = "20240808T235414.000000Z"
LATER = "20240808T235415.000000Z"


def made(
    folder: Path,
    *parts: Sequence[tuple[int, bytes | Note]],
    venue: str = "here",
    opened: str = OPENED,
    after: str = "",
) -> list[Path]:
    """A connection's files, each with the seconds and contents of its lines."""
    paths = []
    for number, lines in enumerate(parts):
        head = Connection(venue, "binance_spot", ("BTCUSDT", "ETHUSDT"), CHANNELS, opened, number, after)
        content = [
            line_of(START_NS // 1_000 + at * 1_000_000, what) for at, what in [(lines[0][0], head), *lines]
        ]
        paths.append(folder / file_name(opened, number))
        paths[-1].write_bytes(zstandard.compress(b"".join(content)))
    return paths


def ask(symbol: str) -> Answer:
    path = f"/api/v3/depth?symbol={symbol}&limit=1000"
    return answer_of(symbol, path, SNAPSHOT)


def of(sink: Memory, relation: str) -> list[Any]:
    return [event for batch in sink.batches for event in getattr(batch, relation)]


def test_a_recording_says_whose_it_is_and_which_book_an_answer_is_of(tmp_path: Path) -> None:
    sink = Memory()
    lines = [(0, diff(9, 11)), (0, diff(9, 11, "ETHUSDT")), (1, ask("ETHUSDT")), (2, ask("BTCUSDT"))]
    made(tmp_path, lines, venue="elsewhere")

    report = replay_files([tmp_path], sink, {})

    assert [(each.instrument_id, each.bid_prices) for each in of(sink, "books")] == [
        (1, (100.0, 99.0)),
        (0, (100.0, 99.0)),
    ]
    # Recorded without the ticker, so the books give the quotes.
    assert [each.instrument_id for each in of(sink, "quotes")] == [1, 0]
    assert {batch.venue for batch in sink.batches} == {"elsewhere"}
    assert report.streams["elsewhere/rest"] == StreamReport(frames=2, rows=4)


def test_gaps_are_those_that_were_noticed(tmp_path: Path) -> None:
    sink = Memory()
    gap = FeedGap("here", None, None, 1, 2, GapCause.STALE, "no frame for 30 s")
    at = START_NS // 1_000
    made(tmp_path, [(0, diff(9, 11)), (0, ask("BTCUSDT")), (1, diff(14, 15)), (2, Closed(at)), (3, Gap(gap))])

    replay_files([tmp_path], sink, {})

    *lost, told = of(sink, "feed_gaps")
    assert [(each.cause, each.relation, each.ended_at) for each in lost] == [
        (GapCause.SEQUENCE_BREAK, "books", at),
        (GapCause.SEQUENCE_BREAK, "quotes", at),
        (GapCause.SEQUENCE_BREAK, "book_flows", at),
    ]
    assert told == gap


def test_a_connection_that_was_told_nothing_at_its_end_has_no_gap(tmp_path: Path) -> None:
    sink = Memory()
    made(tmp_path, [(0, diff(9, 11)), (0, ask("BTCUSDT")), (1, diff(14, 15)), (2, Closed(None))])
    replay_files([tmp_path], sink, {})
    assert of(sink, "feed_gaps") == []


def test_a_later_part_alone_has_the_book_of_the_parts_before(tmp_path: Path) -> None:
    first = [(0, diff(9, 11)), (0, ask("BTCUSDT")), (0, trade(1).encode()), (0, b"not JSON")]
    second = [(3_600, diff(12, 13)), (3_601, trade(2).encode())]
    whole, alone = Memory(), Memory()
    paths = made(tmp_path, first, second)

    replay_files(paths, whole, {})
    report = replay_files(paths[1:], alone, {})

    assert of(alone, "books") == of(whole, "books")[1:]
    assert alone.trades == [(0, 2)]
    assert report.streams["here/btcusdt@trade"] == StreamReport(frames=1, rows=1)
    assert report.first_received_at == START_NS // 1_000 + 3_600_000_000
    assert not report.cuts


def test_what_is_missing_is_reported(tmp_path: Path) -> None:
    first, second = made(tmp_path, [(0, trade(1).encode())], [(1, trade(2).encode()), (2, Missed(7, 1, 2))])
    first.unlink()
    packer = zstandard.ZstdCompressor().compressobj()
    content = packer.compress(zstandard.decompress(second.read_bytes()))
    second.write_bytes(content + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    unfinished = second.with_name(second.name.replace("0001", "0002") + ".part")
    unfinished.write_bytes(b"")  # a power cut took all of it

    report = replay_files([second, unfinished], Memory(), {})

    assert [(Path(cut.path).name, cut.lines) for cut in report.cuts] == [
        (first.name, 0),
        (second.name, 3),
        (unfinished.name, 0),
    ]
    assert report.missed == 7
    assert report.streams["here/btcusdt@trade"].rows == 1


def test_of_a_file_that_only_began_nothing_is_expected(tmp_path: Path) -> None:
    (tmp_path / "20240808T235414.000000Z-0000.zst.part").write_bytes(b"")
    whole = record(tmp_path / "a.gz", [(0, trade(1))])

    report = replay_files([tmp_path], Memory(), VENUES)

    assert [cut.reason for cut in report.cuts] == ["the end is missing"]
    assert report.streams["here/btcusdt@trade"].rows == 1
    assert whole.exists()


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zst").write_bytes(b"this is not zstd")
    with pytest.raises(RecordingError, match=r"a\.zst: damaged: .*nothing in it can be read"):
        replay_files([tmp_path / "a.zst"], Memory(), VENUES)


def test_a_recording_of_a_protocol_that_is_gone_is_named(tmp_path: Path) -> None:
    head = Connection("here", "mtgox", (), (), "20240808T235414.000000Z", 0)
    path = tmp_path / file_name(head.opened, 0)
    path.write_bytes(zstandard.compress(line_of(1, head)))
    with pytest.raises(RecordingError, match="mtgox, which is not known"):
        replay_files([path], Memory(), VENUES)


def test_a_torn_archive_is_replayed_to_its_last_whole_line(tmp_path: Path) -> None:
    path = record(tmp_path / "a.gz", [(second, trade(second)) for second in range(1_000)])
    path.write_bytes(path.read_bytes()[:-200])
    sink = Memory()

    report = replay_files([path], sink, VENUES)

    (cut,) = report.cuts
    assert 0 < cut.lines < 1_000
    assert sink.trades == [(0, number) for number in range(cut.lines)]


def test_a_flood_of_frames_that_cannot_be_parsed_is_counted_and_not_kept(tmp_path: Path) -> None:
    sink = Memory()
    lines = [(0, trade(1)), *((0.001 * number, f"not JSON {number}") for number in range(10_000))]

    report = replay_files([record(tmp_path / "a", lines)], sink, VENUES)

    rows = of(sink, "rejected_frames")
    assert report.streams["here/other"].refused == 10_000
    assert len(rows) < 30
    assert sum(row.frames for row in rows) == 10_000


def bought(number: int) -> bytes:
    return trade(number).encode()


def test_a_change_of_sockets_is_replayed_as_it_was_made(tmp_path: Path) -> None:
    """What both said is there once; what the new one said first goes on when it leads."""
    sink = Memory()
    old = [
        (0, bought(1)), (2, Step("begun")), (3, bought(2)), (6, bought(3)), (9, bought(4)),
        (10, Closed(None)),
    ]  # fmt: skip
    new = [
        (4, bought(2)), (5, bought(3)), (7, bought(4)), (8, Step("done")), (11, bought(3)), (12, bought(5)),
        (13, Step("settled")), (14, bought(6)),
    ]  # fmt: skip
    made(tmp_path, old)
    made(tmp_path, new, opened=LATER, after=OPENED)

    report = replay_files([tmp_path], sink, {})

    assert [number for _, number in sink.trades] == [1, 2, 3, 4, 5, 6]
    stream = report.streams["here/btcusdt@trade"]
    assert (stream.frames, stream.rows, stream.duplicates) == (10, 6, 4)


def test_a_change_that_was_given_up_leaves_the_old_one_alone(tmp_path: Path) -> None:
    sink = Memory()
    old = [(0, bought(1)), (1, Step("begun")), (4, bought(2)), (5, Step("given_up")), (7, bought(3))]
    new = [(2, bought(2)), (3, bought(3)), (6, Step("given_up")), (8, bought(9)), (9, Closed(None))]
    made(tmp_path, old)
    made(tmp_path, new, opened=LATER, after=OPENED)

    report = replay_files([tmp_path], sink, {})

    assert [number for _, number in sink.trades] == [1, 2, 3]
    stream = report.streams["here/btcusdt@trade"]
    assert (stream.frames, stream.rows, stream.duplicates) == (6, 3, 3)


def test_a_change_whose_beginning_is_lost_is_two_connections(tmp_path: Path) -> None:
    sink = Memory()
    made(tmp_path, [(0, bought(1)), (3, bought(3))])
    made(tmp_path, [(1, bought(2)), (2, Step("done")), (4, bought(4))], opened=LATER, after=OPENED)
    replay_files([tmp_path], sink, {})
    assert [number for _, number in sink.trades] == [1, 2, 3, 4]


def test_what_was_fetched_afterwards_is_replayed_under_the_number_that_its_instrument_has(
    tmp_path: Path,
) -> None:
    sink = Memory()
    at = START_NS // 1_000
    missed = Trade(77, 5, at, at + 9_000_000, 1.5, 2.0, -1, 3)
    gap = FeedGap("here", "trade", 1, at, at + 1, GapCause.DISCONNECTED, relation="trades", is_repaired=True)
    made(tmp_path, [(0, bought(1)), (9, Repair("ETHUSDT", (missed,))), (9, Gap(gap))])

    report = replay_files([tmp_path], sink, {})

    assert of(sink, "trades")[1:] == [msgspec.structs.replace(missed, instrument_id=1)]
    assert of(sink, "feed_gaps") == [gap]
    assert report.streams["here/rest"].rows == 1
