"""`sentinet benchmark dashboards`, as short as it can be: that it asks, is answered, and ends. No times."""

from __future__ import annotations

import pytest

from sentinet_dagster.superset.bundle import read_bundle
from sentinet_dagster.superset.questions import tabs
from tests.superset.conftest import Sentinet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def test_analysts_of_every_tab_are_answered(sentinet: Sentinet) -> None:
    views = tabs(read_bundle())
    every = ["--every", "6s", "--for", "6s"]
    found = sentinet.ask("benchmark", "dashboards", "--analysts", str(len(views)), *every)
    assert found["failures"] == {}
    assert found["failed"] == 0
    assert found["analysts"] == found["refreshes"] == len(views)
    assert found["requests"] == sum(len(view.charts) for view in views)
    assert found["charts"] == len(read_bundle().charts)
    assert 0 <= found["from_cache"] <= found["requests"]
    assert set(found["chart_query_s"]) == {"p50", "p95", "max"}
    assert 0 < found["chart_query_s"]["p50"] <= found["chart_query_s"]["p95"] <= found["chart_query_s"]["max"]
    assert len(found["slowest_p95_s"]) == 5
