"""The ingest daemon beside cryptofeed with its PostgreSQL backend: JSON on stdout, nothing asserted.

    make benchmark-peer                       once: an environment of cryptofeed's own, then this
    python tests/benchmarks/peer.py --peer-python .venv-peer/bin/python

Rounds alternate: the same venue sends the same frames (aggregate trades and best bids and asks of eight
symbols) as fast as they are taken, to one of the two at a time, into a database of its own on one server.
Rows a second are from the first frame sent until all rows are there to be seen. Each is as it comes:

    ours      the daemon with its own settings: unique keys, a ledger, synchronous commits
    theirs    cryptofeed's `Binance` feed with `TradePostgres` and `TickerPostgres` under uvloop; the tables
              that its backend writes to have float prices and no key but a serial number
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from sentinet_dagster.commands.console import log_to_stderr
from sentinet_dagster.commands.database import open_database
from sentinet_dagster.runtime.firehose import SYMBOLS, Order
from sentinet_dagster.runtime.ingest_benchmark import firehose, staged
from sentinet_dagster.runtime.pace import spread
from sentinet_dagster.runtime.scratch import scratch_database

WRITER = Path(__file__).with_name("peer_writer.py")
AT_ONCE_PER_S = 1_000_000.0  # more than either takes
PATIENCE_S = 120.0
TABLES = """
create table trades (
    id bigserial, event_at timestamp, seen_at timestamp, exchange text, symbol text, side text,
    amount double precision, price double precision, trade_id text, order_type text
);
create table ticker (
    id bigserial, event_at timestamp, seen_at timestamp, exchange text, symbol text,
    bid double precision, ask double precision
);
"""


def ours(url: str, frames: int) -> float:
    """Rows a second of the daemon."""
    with staged(url) as stage:
        return frames / stage.span(Order(AT_ONCE_PER_S, frames / AT_ONCE_PER_S)).seconds


def theirs(url: str, frames: int, python: Path) -> float:
    """Rows a second of cryptofeed."""
    with (
        scratch_database(url) as scratch,
        psycopg.connect(scratch, autocommit=True) as connection,
        firehose() as (pipe, port),
    ):
        connection.execute(TABLES)
        with peer(python, scratch, port) as process:
            until(process, lambda: pipe.poll())
            assert pipe.recv() == "subscribed"
            pipe.send(Order(AT_ONCE_PER_S, frames / AT_ONCE_PER_S))
            until(process, lambda: pipe.poll())
            first_ns = int(pipe.recv()[0, 2])
            # The numbers given out are quick to ask for, and no lower than the rows.
            until(process, lambda: _number(connection, "trades") + _number(connection, "ticker") >= frames)
            until(process, lambda: _rows(connection) >= frames)
            return frames / ((time.time_ns() - first_ns) / 1e9)


@contextmanager
def peer(python: Path, url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """cryptofeed as a process, in its own environment."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), str(WRITER), url, str(port), *SYMBOLS]
    with subprocess.Popen(command, env=environment, stdout=sys.stderr) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[bytes], condition: Any) -> None:
    """Wait for it, while the process lives."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process.poll() is not None:
            raise SystemExit(f"cryptofeed ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise SystemExit(f"cryptofeed is not done after {PATIENCE_S:g} s")
        time.sleep(0.02)


def _number(connection: psycopg.Connection[Any], table: str) -> int:
    row = connection.execute("select coalesce(pg_sequence_last_value(%s), 0)", [f"{table}_id_seq"]).fetchone()
    assert row is not None
    return int(row[0])


def _rows(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        "select (select count(*) from trades) + (select count(*) from ticker)"
    ).fetchone()
    assert row is not None
    return int(row[0])


def main() -> None:
    """Measure both, in turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", type=Path, required=True, help="of an environment with cryptofeed")
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    log_to_stderr()
    measured: dict[str, list[float]] = {"ours": [], "cryptofeed": []}
    with open_database(make=True) as url:
        for _ in range(options.rounds):
            measured["cryptofeed"].append(theirs(url, options.frames, options.peer_python))
            measured["ours"].append(ours(url, options.frames))
    result = {
        "frames": options.frames,
        "ours_rows_per_s": spread(measured["ours"]),
        "cryptofeed_rows_per_s": spread(measured["cryptofeed"]),
        "ratio": spread(
            [mine / other for mine, other in zip(measured["ours"], measured["cryptofeed"], strict=True)]
        ),
        "machine": {"cores": os.cpu_count(), "load": [round(each, 2) for each in os.getloadavg()]},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
