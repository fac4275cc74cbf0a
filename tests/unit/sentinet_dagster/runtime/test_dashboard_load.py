from __future__ import annotations

import doctest

import pytest

from sentinet_dagster.runtime import dashboard_load
from sentinet_dagster.runtime.dashboard_load import (
    Answer,
    Options,
    Tally,
    measure_dashboards,
    spread,
    summary,
)
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.superset.target import Target

OPTIONS = Options(analysts=2, every_s=10.0, for_s=20.0)


def target(url: str, analyst_password: str = "hush") -> Target:
    return Target(url, "admin", "hush", "", "", analyst_password)


def test_examples_hold() -> None:
    assert doctest.testmod(dashboard_load).failed == 0
    assert doctest.testmod(dashboard_load).attempted > 0


def test_a_refresh_is_spread_as_the_front_end_does_it() -> None:
    assert list(spread(0, 10.0)) == []
    for every_s, whole in ((6.0, 5.0), (10.0, 5.0), (25.0, 5.0), (300.0, 60.0)):
        moments = list(spread(11, every_s))
        assert (moments[0], moments[-1]) == (0.0, pytest.approx(whole))
        assert moments == sorted(moments)


@pytest.mark.parametrize(
    ("every_s", "for_s", "named"),
    [(1.0, 60.0, "--every 1s"), (10.0, 5.0, "--for 5s"), (10.0, 900.0, "--for 900s")],
)
def test_what_cannot_be_measured_is_named(every_s: float, for_s: float, named: str) -> None:
    with pytest.raises(UserError, match=f"^{named}: write "):
        Options(1, every_s, for_s)


def test_another_machine_is_left_alone_unless_it_is_meant() -> None:
    with pytest.raises(UserError, match=r"^https://superset\.example is not on this machine: --elsewhere"):
        measure_dashboards(target("https://superset.example"), OPTIONS)
    with pytest.raises(UserError, match=r"^SENTINET_SUPERSET_ANALYST_PASSWORD is not set"):
        measure_dashboards(target("https://superset.example", ""), OPTIONS, elsewhere=True)


def test_where_nobody_answers_it_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^no Superset answers at http://127\.0\.0\.1:1: "):
        measure_dashboards(target("http://127.0.0.1:1"), OPTIONS)


def test_failures_count_among_the_requests_and_not_among_the_times() -> None:
    tally = Tally(refreshes=3, left_out=1)
    tally.answers += [Answer("candles", seconds, from_cache=seconds < 0.15) for seconds in (0.1, 0.2, 0.3)]
    tally.answers += [Answer("depth", 0.5), Answer("depth", 60.0, failure="depth: 500: Error")]
    result = summary(OPTIONS, tally, 10.0)
    assert result["requests"] == 5
    assert result["failed"] == 1
    assert result["failures"] == {"depth: 500: Error": 1}
    assert result["chart_query_s"] == {"p50": 0.2, "p95": 0.5, "max": 0.5}
    assert (result["charts"], result["from_cache"], result["requests_per_s"]) == (2, 1, 0.5)
    assert result["slowest_p95_s"] == {"depth": 0.5, "candles": 0.3}
    assert (result["refreshes"], result["refreshes_left_out"]) == (3, 1)


def test_nothing_answered_has_no_percentiles() -> None:
    result = summary(OPTIONS, Tally(), 10.0)
    assert result["chart_query_s"] == {"p50": None, "p95": None, "max": None}
