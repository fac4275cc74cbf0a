"""The shape of the code location, written down: an asset, edge, job, schedule or sensor more or less is a
decision."""

from __future__ import annotations

import subprocess
import sys

from sentinet_dagster import default_setup
from sentinet_dagster.definitions import defs

MARKET = ["book_flows", "books", "feed_gaps", "quotes", "reference_prices", "rejected_frames", "trades"]
FACTS = ["book_flows", "books", "quotes", "reference_prices", "trades"]
INSTRUMENTS = "market/instruments"
QUARANTINED = "surveillance/quarantined_facts"
NAMES = "rollup/stg_market__instruments"
CONTINUOUS = {
    "rollup/trade_bars_1m": ["market/trades", QUARANTINED],
    "rollup/trade_bars_5m": ["rollup/trade_bars_1m"],
    "rollup/trade_bars_15m": ["rollup/trade_bars_5m"],
    "rollup/trade_bars_1h": ["rollup/trade_bars_15m"],
    "rollup/trade_bars_1d": ["rollup/trade_bars_1h"],
    "rollup/quote_spreads_1m": ["market/quotes", QUARANTINED],
    "rollup/book_depth_1m": ["market/books", QUARANTINED],
    "rollup/reference_prices_1m": ["market/reference_prices", QUARANTINED],
    "rollup/feed_quality_1h": [
        "market/feed_gaps",
        INSTRUMENTS,
        "market/rejected_frames",
        "rollup/book_depth_1m",
        "rollup/quote_spreads_1m",
        "rollup/trade_bars_1m",
        QUARANTINED,
    ],
    "rollup/technical_indicators_1m": ["rollup/trade_bars_1m"],
}
VIEWS = {
    "rollup/quote_bars_1m": [
        "rollup/book_depth_1m",
        "rollup/quote_spreads_1m",
        "rollup/trade_bars_1m",
    ],
    "rollup/basis_1m": ["rollup/quote_spreads_1m", "rollup/reference_prices_1m", NAMES],
    "rollup/spread_monitor": ["rollup/quote_bars_1m", NAMES],
    "rollup/price_with_bands": [NAMES, "rollup/technical_indicators_1m"],
    "rollup/correlation_latest": [NAMES, "surveillance/correlations"],
    "rollup/alert_queue": [
        "rollup/stg_surveillance__alerts",
        "rollup/stg_surveillance__incidents",
        "surveillance/alerts",
        "surveillance/windows",
    ],
    "rollup/alert_outcomes": ["rollup/stg_surveillance__alerts", "surveillance/alerts"],
    "rollup/market_overview": [
        "rollup/feed_quality_1h",
        "rollup/quote_spreads_1m",
        NAMES,
        "rollup/trade_bars_1m",
        "surveillance/alerts",
    ],
    "rollup/price_bars_1m": [NAMES, "rollup/technical_indicators_1m", "rollup/trade_bars_1m"],
    "rollup/candles_latest": ["rollup/price_bars_1m", "rollup/trade_bars_1m"],
    "rollup/windowed_metrics": ["rollup/quote_spreads_1m", NAMES, "rollup/trade_bars_1m"],
    "rollup/liquidity_1m": ["rollup/book_depth_1m", "rollup/spread_monitor"],
    "rollup/execution_windows": ["rollup/quote_spreads_1m", "rollup/spread_monitor"],
    "rollup/basis_monitor": ["rollup/basis_1m", NAMES],
    "rollup/correlation_matrix": ["rollup/correlation_latest"],
    "rollup/window_features": [NAMES, "surveillance/features"],
    "rollup/alert_incidents": [NAMES, "rollup/stg_surveillance__incidents", "surveillance/alerts"],
    "rollup/alert_context": ["rollup/stg_surveillance__alerts", "surveillance/windows"],
    "rollup/alert_evidence": ["rollup/stg_surveillance__alerts"],
    "rollup/model_scores": [NAMES, "surveillance/scores"],
    "rollup/trained_models": ["model/isolation_forest"],
    "rollup/feed_quality": ["rollup/feed_quality_1h", NAMES],
    "rollup/feed_status": ["market/feed_gaps", "market/rejected_frames", "market/trades", NAMES],
    "rollup/feed_troubles": ["market/rejected_frames", "rollup/stg_market__feed_gaps", NAMES],
    "rollup/ingest_batches": ["market/trades"],
    "rollup/judging_latency_1m": ["surveillance/windows"],
    "rollup/judging_backlog": ["surveillance/windows"],
    "rollup/check_status": ["surveillance/windows"],
    "rollup/relation_sizes": ["ops/storage"],
    "rollup/relation_sizes_1h": ["ops/dagster_runs"],
    "rollup/dagster_runs_1h": ["ops/dagster_runs"],
    NAMES: [INSTRUMENTS],
    "rollup/stg_surveillance__alerts": [INSTRUMENTS, "surveillance/alerts"],
    "rollup/stg_surveillance__incidents": ["surveillance/alerts"],
    **{
        f"rollup/stg_market__{name}": sorted([INSTRUMENTS, f"market/{name}"])
        for name in MARKET
        if name != "rejected_frames"
    },
}

DASHBOARDS = {
    "superset/data_quality_and_operations": [
        "rollup/check_status",
        "rollup/dagster_runs_1h",
        "rollup/feed_quality",
        "rollup/feed_status",
        "rollup/feed_troubles",
        "rollup/ingest_batches",
        "rollup/judging_backlog",
        "rollup/judging_latency_1m",
        "rollup/relation_sizes",
        "rollup/relation_sizes_1h",
    ],
    "superset/liquidity_and_derivatives": [
        "rollup/basis_monitor",
        "rollup/execution_windows",
        "rollup/liquidity_1m",
        "rollup/window_features",
        "rollup/windowed_metrics",
    ],
    "superset/market_overview": [
        "rollup/alert_queue",
        "rollup/candles_latest",
        "rollup/correlation_matrix",
        "rollup/feed_status",
        "rollup/ingest_batches",
        "rollup/judging_latency_1m",
        "rollup/market_overview",
        "rollup/price_bars_1m",
    ],
    "superset/models": [
        "rollup/model_scores",
        "rollup/trained_models",
    ],
    "superset/surveillance": [
        "rollup/alert_context",
        "rollup/alert_evidence",
        "rollup/alert_incidents",
        "rollup/alert_outcomes",
        "rollup/alert_queue",
        "rollup/stg_surveillance__alerts",
    ],
}

GRAPH = {
    **{f"market/{name}": [] for name in MARKET},
    INSTRUMENTS: [],
    QUARANTINED: [f"market/{name}" for name in FACTS],
    **CONTINUOUS,
    **VIEWS,
    "surveillance/windows": [f"market/{name}" for name in MARKET],
    "surveillance/features": ["surveillance/windows"],
    "surveillance/correlations": ["surveillance/features"],
    "surveillance/scores": ["surveillance/features"],
    "surveillance/alerts": ["surveillance/findings"],
    "surveillance/findings": [
        "surveillance/correlations",
        "surveillance/features",
        "surveillance/scores",
        "surveillance/windows",
    ],
    **DASHBOARDS,
    "model/isolation_forest": ["surveillance/features"],
    "ops/dagster_runs": [],
    "ops/storage": [f"market/{name}" for name in MARKET],
}
JOBS = {
    "judge_windows": [
        "surveillance/alerts",
        "surveillance/correlations",
        "surveillance/features",
        "surveillance/findings",
        "surveillance/scores",
        "surveillance/windows",
    ],
    "retrain_models_daily": ["model/isolation_forest"],
    "check_judgement_hourly": [],
    "check_quality_daily": [],
    "prune_runs": ["ops/dagster_runs"],
    "refresh_rollups_minutely": sorted(CONTINUOUS),
    "check_rollups_hourly": [],
    "maintain_storage_daily": ["ops/storage"],
    "publish_dashboards": sorted(DASHBOARDS),
}
SCHEDULES = {
    "refresh_rollups_minutely_schedule": ("* * * * *", "refresh_rollups_minutely"),
    "check_rollups_hourly_schedule": ("20 * * * *", "check_rollups_hourly"),
    "check_judgement_hourly_schedule": ("5 * * * *", "check_judgement_hourly"),
    "check_quality_daily_schedule": ("20 2 * * *", "check_quality_daily"),
    "prune_runs_schedule": ("5-59/10 * * * *", "prune_runs"),
    "maintain_storage_daily_schedule": ("40 1 * * *", "maintain_storage_daily"),
    "retrain_models_daily_schedule": ("10 0 * * *", "retrain_models_daily"),
}
SENSORS = {"on_missing_model": "retrain_models_daily", "on_new_batches": "judge_windows"}
JUDGED = ["alerts", "correlations", "features", "findings", "scores", "windows"]
CHECKS = sorted(
    [
        *(f"market/{name}:{name}_are_fresh" for name in FACTS),
        *(f"market/{name}:{name}_are_sound" for name in FACTS),
        *(f"market/{name}:columns_are_as_known" for name in [*MARKET, "instruments"]),
        *(f"surveillance/{name}:columns_are_as_known" for name in JUDGED),
        "surveillance/alerts:alerts_are_sound",
        "surveillance/alerts:alerts_keep_up",
        "surveillance/alerts:no_range_keeps_failing",
        "surveillance/windows:facts_were_sound",
        "surveillance/windows:new_windows_are_sound",
        "surveillance/windows:windows_are_sound",
    ]
)


def test_assets_and_what_each_stands_on() -> None:
    graph = defs.resolve_asset_graph()
    found = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    assert found == GRAPH


def test_every_asset_says_what_it_is_and_whose() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert node.kinds, key


def test_jobs_and_what_each_makes() -> None:
    found = {
        job.name: sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
        for job in defs.resolve_all_job_defs()
        if not job.name.startswith("__")
    }
    assert found == JOBS


def test_judging_takes_one_process() -> None:
    for name in [*JOBS, "__ASSET_JOB"]:  # the last: what the UI materializes and backfills
        assert defs.resolve_job_def(name).executor_def.name == "in_process"


def test_the_default_setup_judges_by_the_same_steps() -> None:
    """What the benchmark compares with is the same work, launched as Dagster does by itself."""
    ours, default = (each.resolve_job_def("judge_windows") for each in (defs, default_setup.defs))
    assert {node.name for node in default.nodes} == {node.name for node in ours.nodes}
    assert default.executor_def is not ours.executor_def


def test_schedules_sensors_and_checks_run_from_the_start() -> None:
    repository = defs.get_repository_def()
    assert {s.name: (s.cron_schedule, s.job_name) for s in repository.schedule_defs} == SCHEDULES
    assert {s.name: s.job_name for s in repository.sensor_defs} == SENSORS
    for each in [*repository.schedule_defs, *repository.sensor_defs]:
        assert each.default_status.value == "RUNNING", each.name
    checks = defs.resolve_asset_graph().asset_check_keys
    found = sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in checks)
    assert [name for name in found if not name.startswith("rollup/")] == CHECKS


def test_every_rollup_with_a_key_is_checked_for_it() -> None:
    checks = defs.resolve_asset_graph().asset_check_keys
    checked = {key.asset_key.to_user_string() for key in checks if "key" in key.name or "unique" in key.name}
    keyed_by_their_tables = {f"rollup/stg_market__{name}" for name in MARKET if name != "feed_gaps"}
    # Rows of tables with a primary key, with names: to read them all again costs much and finds nothing.
    keyed_by_their_tables |= {
        f"rollup/{name}"
        for name in ("window_features", "model_scores", "ingest_batches", "alert_context", "basis_monitor")
    }
    without_a_key = {"rollup/feed_troubles", "rollup/judging_backlog"}
    assert {*CONTINUOUS, *VIEWS} - keyed_by_their_tables - without_a_key <= checked


def test_jobs_check_what_they_say() -> None:
    def checked(job: str) -> set[str]:
        keys = defs.resolve_job_def(job).asset_layer.asset_graph.asset_check_keys
        return {key.asset_key.path[0] for key in keys}

    assert checked("check_judgement_hourly") == {"market", "rollup", "surveillance"}
    assert checked("check_quality_daily") == {"market", "rollup", "surveillance"}
    assert checked("check_rollups_hourly") == {"rollup"}
    assert checked("refresh_rollups_minutely") == set()


def test_loading_imports_nothing_slow_and_warns_of_nothing() -> None:
    slow = ["sklearn", "scipy", "adbc_driver_postgresql", "pyarrow", "dbt", "dagster_dbt"]
    slow += ["great_expectations", "pandas"]
    code = f"import sys, sentinet_dagster.definitions\nprint([m for m in {slow} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert loaded.stdout.strip() == "[]"
