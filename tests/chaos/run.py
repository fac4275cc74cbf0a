"""Carries a plan out on a running daemon, and asks the database what came of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import psycopg

from sentinet_dagster.runtime.venue_faults import Faults
from tests.chaos.daemon import FEEDS, ChaosDaemon
from tests.chaos.databases import Database
from tests.chaos.plan import Amounts, Kind, Step, plan
from tests.chaos.venue import Venue, running_venue
from tests.chaos.verdict import Fault, Found, Gap, Key, Told, judge

_SETTLE_S = 180.0  # for all that waits to be written, when nothing more comes
_ONE_READ_A_FEED = 2 * 262_144  # by which it may be overshot
_PATIENCE_S = 120.0
_QUEUE_BYTES = 1_048_576


@dataclass(frozen=True)
class Chaos:
    """What is done."""

    amounts: Amounts
    seed: int
    frames_per_s: float
    faults: Faults = field(default_factory=lambda: Faults(malformed=0.01, duplicated=0.01, reordered=0.01))
    spool_bytes: int = 524_288


async def unleash(
    chaos: Chaos, database: Database, directory: Path, guard: IO[bytes] | None = None
) -> dict[str, Any]:
    """Do all of it; the account. It needs the seconds of the plan, and some to start and to settle."""
    told = Told()
    start_us = _now()
    async with AsyncExitStack() as stack:
        venue = await stack.enter_async_context(
            running_venue(start_us, chaos.frames_per_s, chaos.faults, chaos.seed, told)
        )
        venue.write_config(directory)
        venue.watch(database.url)
        tuning = {"spool_bytes": str(chaos.spool_bytes), "queue_bytes": str(_QUEUE_BYTES)}
        daemon = ChaosDaemon(directory, database.url, tuning, guard)
        stack.push_async_callback(daemon.close)
        world = _World(venue, daemon, database)
        steps = plan(chaos.amounts, chaos.seed)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(daemon.watch())
            await world.carry_out(steps, chaos.amounts.seconds)
            await venue.end()
            ended_at = _now()
            settled_s = await world.settle()
            world.faults.append(Fault(Kind.SILENCE, ended_at, _now()))
            watching.cancel()
        code = await daemon.stop()
    found = await asyncio.to_thread(read, database.url)
    account = judge(told, found, world.faults)
    wrong = account.pop("wrong") + world.wrong
    if daemon.most["queue_bytes"] > _QUEUE_BYTES + _ONE_READ_A_FEED:
        wrong.append("the queue grew beyond its limit")
    if chaos.amounts.overflows and not daemon.most["shed_events_total"]:
        wrong.append("the spool never was so full that something was shed")
    wrong += [] if code == 0 else [f"the daemon ended with {code}"]
    wrong += [] if len(world.faults) == len(steps) + 1 else ["not all of the plan was done"]
    wrong += [f"logged: {line}" for line in daemon.errors()]
    most = {name: round(value, 3) for name, value in daemon.most.items()}
    return {
        "seed": chaos.seed,
        "seconds": chaos.amounts.seconds,
        "asked_frames_per_s": chaos.frames_per_s,
        "frames_sent": told.frames,
        "line": asdict(chaos.faults),
        "done": dict(Counter(fault.kind.value for fault in world.faults[:-1])),
        "limits": {"queue_bytes": _QUEUE_BYTES, "spool_bytes": chaos.spool_bytes},
        "most": most,
        "settled_s": round(settled_s, 1),
        **account,
        "is_proved": not wrong,
        "wrong": wrong,
    }


class _World:
    """Where the steps happen."""

    def __init__(self, venue: Venue, daemon: ChaosDaemon, database: Database) -> None:
        self.faults: list[Fault] = []
        self.wrong: list[str] = []
        self._venue = venue
        self._daemon = daemon
        self._database = database

    async def carry_out(self, steps: Sequence[Step], seconds: float) -> None:
        """Each kind of step by itself: the daemon is killed while the database is away, too."""
        await self._daemon.start()
        await self._daemon.receives()
        began = time.monotonic()
        by_kind: dict[Kind, list[Step]] = defaultdict(list)
        for step in steps:
            by_kind[step.kind].append(step)
        silences = by_kind.pop(Kind.SILENCE, [])
        async with asyncio.TaskGroup() as tasks:
            for same in by_kind.values():
                tasks.create_task(self._one_after_the_other(same, began, tasks))
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        for step in silences:
            await self._daemon.receives()
            started_at = _now()
            known = self._daemon.now["reconnects_total"]
            self._venue.server.hub.fall_silent()
            # Each feed gives its socket up, however late a busy machine lets it.
            await self._until("reconnects_total", lambda n, known=known: n >= known + FEEDS)  # type: ignore[misc]
            self.faults.append(Fault(step.kind, started_at, _now()))
        await self._daemon.receives()  # so that it ends as it should

    async def _one_after_the_other(
        self, steps: Sequence[Step], began: float, tasks: asyncio.TaskGroup
    ) -> None:
        for step in steps:
            await asyncio.sleep(max(0.0, began + step.at_s - time.monotonic()))
            started_at = _now()
            match step.kind:
                case Kind.KILL:
                    await self._daemon.receives()
                    await asyncio.sleep(step.for_s)
                    started_at = _now()
                    await self._daemon.kill()
                    await self._daemon.start()
                    tasks.create_task(self._note_caught_up(step.kind, started_at))
                case Kind.AWAY:
                    await asyncio.to_thread(lambda crash=step.is_crash: self._database.go_away(crash=crash))
                    await asyncio.sleep(step.for_s)
                    if step.is_overflow:
                        await self._until("shed_events_total", lambda shed: shed > 0)
                    await asyncio.to_thread(self._database.come_back)
                    tasks.create_task(self._note_caught_up(step.kind, started_at))
                case Kind.CUT:
                    self._venue.server.hub.cut()
                    self.faults.append(Fault(step.kind, started_at, _now()))

    async def _note_caught_up(self, kind: Kind, started_at: int) -> None:
        """A fault lasts until all that waited on the disk is written: the spool may be full till then."""
        await self._until("spool_bytes", lambda size: size == 0)
        self.faults.append(Fault(kind, started_at, _now()))

    async def _until(self, metric: str, condition: Callable[[float], bool]) -> None:
        """Wait for it, not for ever; while the daemon does not answer, it is not fulfilled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while metric not in self._daemon.now or not condition(self._daemon.now[metric]):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    async def settle(self) -> float:
        """Wait until nothing waits to be written; seconds that it took."""
        began = time.monotonic()
        waits: Callable[[], bool] = lambda: any(  # noqa: E731
            self._daemon.now.get(name, 1.0) for name in ("queue_events", "spool_bytes", "lag_seconds")
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while waits():  # noqa: ASYNC110 (it is another process)
                    await asyncio.sleep(0.05)
                return time.monotonic() - began
        self.wrong.append(f"not settled after {_SETTLE_S:g} s: {self._daemon.now}")
        return _SETTLE_S


def read(database_url: str) -> Found:
    """What the database has."""
    trades: dict[Key, list[int]] = defaultdict(list)
    with psycopg.connect(database_url) as connection:
        for venue, symbol, numbers in connection.execute(
            """
            select instruments.venue, instruments.venue_symbol, array_agg(trades.trade_id)
            from market.trades
            inner join market.instruments using (instrument_id)
            group by instruments.venue, instruments.venue_symbol
            """
        ):
            trades[venue, symbol] = numbers
        gaps = connection.execute(
            """
            select
                gaps.venue, instruments.venue_symbol, gaps.relation,
                (extract(epoch from gaps.started_at) * 1000000)::bigint,
                (extract(epoch from gaps.ended_at) * 1000000)::bigint,
                gaps.cause, gaps.detail, gaps.lost_events, gaps.repaired_at is not null
            from market.feed_gaps as gaps
            left join market.instruments using (instrument_id)
            order by gaps.started_at, gaps.gap_id
            """
        ).fetchall()
        refused = connection.execute(
            "select venue, sum(frames)::bigint from market.rejected_frames group by venue"
        ).fetchall()
    return Found(trades, [Gap(*row) for row in gaps], dict(refused))


def _now() -> int:
    return time.time_ns() // 1_000
