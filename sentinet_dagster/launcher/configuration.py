"""The keys of `run_launcher.config` in dagster.yaml, with their defaults and least values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import Array, BoolSource, DagsterInvariantViolationError, Field, IntSource, StringSource

_LEAST = {
    "max_concurrent_runs": 1,
    "start_timeout_seconds": 1,
    "terminate_grace_seconds": 0,
    "idle_timeout_seconds": 0,
}

SCHEMA = {
    "max_concurrent_runs": Field(
        IntSource,
        is_required=False,
        default_value=10,
        description="How many runs a worker executes at once; others wait in it, in state STARTING.",
    ),
    "preload_modules": Field(
        Array(StringSource),
        is_required=False,
        default_value=[],
        description="Modules to import before the first run, besides Dagster's and the storage's: the code "
        "location's, and slow ones it imports only when used. What starts threads is left out.",
    ),
    "preload_location": Field(
        BoolSource,
        is_required=False,
        default_value=True,
        description="Import a run's code location in the worker. False if it is known to start threads: it "
        "is then not even tried, and preload_modules names what it imports that does not.",
    ),
    "watch_paths": Field(
        Array(StringSource),
        is_required=False,
        default_value=[],
        description="Files or directories, besides imported source files, whose change makes the worker "
        "begin afresh: what the code location reads when it is imported.",
    ),
    "idle_threads": Field(
        Array(StringSource),
        is_required=False,
        default_value=[],
        description="Names of native threads (/proc/<pid>/task/*/comm) that do not keep code from being "
        "preloaded: a library starts them when imported, they wait without holding a lock, and runs, which "
        "have no copy of them, do without.",
    ),
    "start_worker": Field(
        BoolSource,
        is_required=False,
        default_value=True,
        description="Start a worker when none runs. False if a supervisor runs it: launches wait for it.",
    ),
    "start_timeout_seconds": Field(
        IntSource,
        is_required=False,
        default_value=60,
        description="How long a launch waits for a worker to start and answer before the run fails.",
    ),
    "terminate_grace_seconds": Field(
        IntSource,
        is_required=False,
        default_value=30,
        description="How long a terminated run may take to clean up before its processes are killed.",
    ),
    "idle_timeout_seconds": Field(
        IntSource,
        is_required=False,
        default_value=900,
        description="After how long without runs a worker that nobody supervises ends; 0 for never.",
    ),
    "directory": Field(
        StringSource,
        is_required=False,
        description="Where the workers' sockets, logs and journals are. Default: warm_launcher in the "
        "instance's directory. Name a shared volume if launchers run in other containers than the worker.",
    ),
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """What SCHEMA let through, checked. Seconds are whole."""

    max_concurrent_runs: int
    preload_modules: tuple[str, ...]
    preload_location: bool
    watch_paths: tuple[str, ...]
    idle_threads: tuple[str, ...]
    start_worker: bool
    start_timeout_seconds: int
    terminate_grace_seconds: int
    idle_timeout_seconds: int
    directory: str | None

    @staticmethod
    def of(values: Mapping[str, Any]) -> Configuration:
        """Check values that SCHEMA accepts. Raises DagsterInvariantViolationError that names the key."""
        for key, least in _LEAST.items():
            if values[key] < least:
                raise DagsterInvariantViolationError(
                    f"dagster.yaml: run_launcher.config.{key} must be {least} or more, not {values[key]}"
                )
        return Configuration(
            max_concurrent_runs=values["max_concurrent_runs"],
            preload_modules=tuple(values["preload_modules"]),
            preload_location=values["preload_location"],
            watch_paths=tuple(str(Path(path).absolute()) for path in values["watch_paths"]),
            idle_threads=tuple(values["idle_threads"]),
            start_worker=values["start_worker"],
            start_timeout_seconds=values["start_timeout_seconds"],
            terminate_grace_seconds=values["terminate_grace_seconds"],
            idle_timeout_seconds=values["idle_timeout_seconds"],
            directory=values.get("directory"),
        )
