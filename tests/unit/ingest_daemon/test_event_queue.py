"""The queue between feeds and writer: bounded by bytes, in order, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.event_queue import EventQueue
from ingest_daemon.events import Quote

QUOTE = Quote(1, 1, None, 1, 1.0, 1.0, 2.0, 1.0)


async def blocked(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """Start what must wait, and see that it does."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_it_is_full_by_bytes_and_has_room_again_when_they_are_taken() -> None:
    queue = EventQueue(limit=100)
    queue.put("here", [QUOTE], 60)
    assert not queue.is_full
    queue.put("here", [QUOTE], 60)  # over the limit, and yet kept
    assert (queue.is_full, queue.bytes, queue.events) == (True, 120, 2)

    waiting = await blocked(queue.wait_for_room())
    assert queue.take() is not None
    await asyncio.wait_for(waiting, 20)

    assert (queue.is_full, queue.bytes, queue.events) == (False, 60, 1)


async def test_room_for_one_is_not_room_for_all() -> None:
    queue = EventQueue(limit=100)
    queue.put("here", [QUOTE], 100)
    first, second = await blocked(queue.wait_for_room()), await blocked(queue.wait_for_room())

    queue.take()
    queue.put("here", [QUOTE], 100)  # somebody was faster
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not first.done()
    assert not second.done()

    queue.take()
    await asyncio.wait_for(asyncio.gather(first, second), 20)


async def test_the_writer_sleeps_until_enough_is_there() -> None:
    queue = EventQueue(limit=1_000)
    waiting = await blocked(queue.wait(events=3, timeout_s=None))
    queue.put("here", [QUOTE], 1)
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.put("here", [QUOTE, QUOTE], 1)
    await asyncio.wait_for(waiting, 20)


async def test_the_writer_wakes_when_it_is_full_closed_or_the_time_is_over() -> None:
    queue = EventQueue(limit=10)
    await asyncio.wait_for(queue.wait(events=3, timeout_s=0.001), 20)

    waiting = await blocked(queue.wait(events=3, timeout_s=None))
    queue.put("here", [QUOTE], 10)
    await asyncio.wait_for(waiting, 20)

    queue.take()
    waiting = await blocked(queue.wait(events=3, timeout_s=None))
    queue.close()
    await asyncio.wait_for(waiting, 20)
    await asyncio.wait_for(queue.wait(events=3, timeout_s=None), 20)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 50)), max_size=30))
def test_what_goes_in_comes_out_in_order(sent: list[tuple[str, int]]) -> None:
    queue = EventQueue(limit=100)
    for venue, size in sent:
        queue.put(venue, [QUOTE], size)
    assert queue.bytes == sum(size for _, size in sent)

    taken = []
    while (item := queue.take()) is not None:
        taken.append((item.venue, item.size))

    assert taken == sent
    assert (queue.bytes, queue.events) == (0, 0)
