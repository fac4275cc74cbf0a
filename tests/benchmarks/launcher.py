"""What a run costs with the warm launcher and with Dagster's own: JSON on stdout, nothing asserted.

    python tests/benchmarks/launcher.py --runs 20 [--postgres postgresql://…]

A trivial run (one op, in-process executor) is requested over GraphQL as the UI does, one after another.
Seconds are
from the request to the run's recorded start and end. CPU is user and system time of every process involved
(the requesting process, the code server, the warm worker and all they forked), per run, after one run to
warm up.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._grpc.client import DagsterGrpcClient
from dagster_graphql.test.utils import execute_dagster_graphql

from sentinet_dagster.launcher.channel import Channel, WorkerGoneError

REPOSITORY = Path(__file__).resolve().parents[2]
LOCATION = REPOSITORY / "tests" / "integration" / "warm_launcher_location.py"
WARM = {"module": "sentinet_dagster.launcher", "class": "WarmRunLauncher"}
LAUNCH = """
mutation {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "warm", repositoryName: "__repository__", jobName: "succeeds"}
  }) { ... on LaunchRunSuccess { run { runId } } }
}"""


@contextmanager
def code_server(directory: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A code server of the tests' location: its socket and its process."""
    directory.mkdir()
    shutil.copy(LOCATION, directory / "location.py")
    address = str(directory / "grpc.sock")
    command = [sys.executable, "-m", "dagster", "api", "grpc", "-m", "location", "--socket", address]
    with subprocess.Popen([*command, "--log-level", "WARNING"], cwd=directory, stdout=sys.stderr) as server:
        try:
            while not (
                Path(address).exists() and DagsterGrpcClient(socket=address).health_check_query() == "SERVING"
            ):
                time.sleep(0.1)
            yield address, psutil.Process(server.pid)
        finally:
            server.terminate()


def cpu_seconds(process: psutil.Process) -> float:
    """CPU of a process and of all its children that have ended."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def one_run(instance: DagsterInstance, workspace: WorkspaceProcessContext) -> tuple[float, float]:
    """Seconds from the request to the run's start and to its end."""
    asked = time.time()
    answer = execute_dagster_graphql(workspace.create_request_context(), LAUNCH)
    run_id = answer.data["launchRun"]["run"]["runId"]
    deadline = asked + 120
    while not (run := instance.get_run_by_id(run_id)) or not run.is_finished:
        if time.time() > deadline:
            raise TimeoutError(f"run {run_id} does not end")
        time.sleep(0.1)
    stats = instance.get_run_stats(run_id)
    return (stats.start_time or 0.0) - asked, (stats.end_time or 0.0) - asked


def measure(directory: Path, runs: int, storage: dict[str, Any], launcher: dict[str, Any]) -> dict[str, Any]:
    """Runs one after another with one launcher."""
    home = directory / "home"
    home.mkdir(parents=True)
    coordinator = {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
    settings = {"telemetry": {"enabled": False}, "run_coordinator": coordinator, **storage, **launcher}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    os.environ["DAGSTER_HOME"] = str(home)
    with code_server(directory / "code") as (address, server), DagsterInstance.get() as instance:
        target = GrpcServerTarget(host="localhost", port=None, socket=address, location_name="warm")
        with WorkspaceProcessContext(instance, target) as workspace:
            first = one_run(instance, workspace)
            channel = next(
                (Channel(lock.parent, lock.stem) for lock in (home / "warm_launcher").glob("*.lock")), None
            )
            processes = {"requester": psutil.Process(), "code_server": server}
            if channel is not None:
                processes["warm_worker"] = psutil.Process(channel.ask({"do": "describe"})["pid"])
            before = {name: cpu_seconds(process) for name, process in processes.items()}
            seconds = [one_run(instance, workspace) for _ in range(runs)]
            settle(processes)
            spent = {
                name: (cpu_seconds(process) - before[name]) / runs for name, process in processes.items()
            }
            if channel is not None:
                stop(channel)
    return {
        "first_start_s": round(first[0], 3),
        "start_s": quantiles([start for start, _ in seconds]),
        "success_s": quantiles([end for _, end in seconds]),
        "cpu_s_per_run": {
            **{name: round(cpu, 3) for name, cpu in spent.items()},
            "total": round(sum(spent.values()), 3),
        },
    }


def settle(processes: dict[str, psutil.Process]) -> None:
    """Wait until the runs' processes are reaped, so that their CPU is counted."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(
        p.children() for name, p in processes.items() if name == "warm_worker"
    ):
        time.sleep(0.1)
    time.sleep(2)  # the code server looks after its runs' processes once a second


def stop(channel: Channel) -> None:
    """End the worker and wait for it."""
    try:
        worker = psutil.Process(channel.ask({"do": "describe"})["pid"])
        channel.ask({"do": "stop"})
        worker.wait(20)
    except (WorkerGoneError, psutil.NoSuchProcess):
        return


def quantiles(values: list[float]) -> dict[str, float]:
    """The middle and the 95th percentile."""
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 3),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
    }


def main() -> None:
    """Measure both launchers under the same conditions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--postgres", help="Dagster's storage; default: SQLite")
    options = parser.parse_args()
    storage = {"storage": {"postgres": {"postgres_url": options.postgres}}} if options.postgres else {}
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        result = {
            "runs": options.runs,
            "storage": "postgres" if options.postgres else "sqlite",
            "warm": measure(root / "warm", options.runs, storage, {"run_launcher": WARM}),
            "default": measure(root / "default", options.runs, storage, {}),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
