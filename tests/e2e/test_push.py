"""With push, windows are judged by runs that the listener launches, each once; the sensor goes on beside it.

On the stage of `sentinet benchmark microbatch`, with a small market: what that prints is looked at, too. Some
40 s, most of it the start of a whole Sentinet: nowhere else does a run start by push.
"""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import pairwise

import psycopg
import pytest
from psycopg.rows import dict_row

from sentinet_dagster.runtime.load import chosen_instruments, rate_for
from sentinet_dagster.runtime.microbatch import PUSH, Options, staged

pytestmark = [pytest.mark.e2e, pytest.mark.integration]

SPAN = timedelta(seconds=15)
RUNS = """
select
    partition, start_time, end_time,
    max(value) filter (where key = 'dagster/run_key') as run_key,
    max(value) filter (where key = 'dagster/sensor_name') as sensor
from runs
left join run_tags on runs.run_id = run_tags.run_id
where pipeline_name = 'judge_windows'
group by runs.id, partition, start_time, end_time
order by start_time
"""


def test_runs_start_by_push_and_nothing_is_judged_twice() -> None:
    options = Options(SPAN, instruments=12, events_per_second=300)
    rate = rate_for(chosen_instruments(12), 300)
    with staged(options, PUSH, rate, os.environ) as stage:
        measured = stage.measure(SPAN)
        with psycopg.connect(stage.database.dagster_url, row_factory=dict_row) as connection:
            runs = connection.execute(RUNS).fetchall()
        with psycopg.connect(stage.database.url, row_factory=dict_row) as connection:
            ticks = connection.execute(
                "select * from ops.latency(now() - interval '10 minutes', now())"
            ).fetchall()
    assert measured["failed"] == 0
    assert measured["runs"] > 0
    assert measured["cpu_s_per_batch"]["push"] > 0
    assert {each["stage"] for each in ticks} >= {"tick_to_row", "row_to_window"}

    pushed = [run for run in runs if run["sensor"] is None]
    assert len(pushed) >= measured["runs"] // 2
    assert len({run["run_key"] for run in runs}) == len(runs)
    for one, other in pairwise(runs):
        if one["partition"] == other["partition"] and other["start_time"] is not None:
            assert one["end_time"] <= other["start_time"]
