"""The warm launcher through a real instance: a code server, runs launched as the UI does, real deaths."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._grpc.client import DagsterGrpcClient
from dagster_graphql.test.utils import execute_dagster_graphql

from sentinet_dagster.launcher import WarmRunLauncher
from sentinet_dagster.launcher.channel import Channel, WorkerGoneError

pytestmark = pytest.mark.integration

LOCATION = Path(__file__).with_name("warm_launcher_location.py")
REPOSITORY = Path(__file__).resolve().parents[2]
ENDED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
PATIENCE = 180.0  # for what takes seconds on a machine that has nothing else to do
T = TypeVar("T")

LAUNCH = """
mutation($job: String!, $config: RunConfigData, $tags: [ExecutionTag!]) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "warm", repositoryName: "__repository__", jobName: $job}
    runConfigData: $config
    executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}"""
TERMINATE = """
mutation($run: String!) {
  terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } }
}"""


def until(look: Callable[[], T], what: str = "", patience: float = PATIENCE) -> T:
    """What `look` returns once it is true."""
    deadline = time.monotonic() + patience
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {patience:g} s in vain: {what or look}"
        time.sleep(0.02)
    return seen


def environment(home: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "DAGSTER_HOME": str(home), "PYTHONPATH": str(REPOSITORY)}


@contextmanager
def serve_code(directory: Path) -> Iterator[str]:
    """A real code server of the location copied to `directory`; its socket."""
    directory.mkdir()
    shutil.copy(LOCATION, directory / "location.py")
    address = str(directory / "grpc.sock")
    command = [sys.executable, "-m", "dagster", "api", "grpc", "-m", "location", "--socket", address]
    server = subprocess.Popen([*command, "--log-level", "WARNING"], cwd=directory, env=environment(directory))
    try:
        until(lambda: Path(address).exists() and _pings(address), "the code server")
        yield address
    finally:
        server.terminate()
        server.wait(PATIENCE)


def _pings(address: str) -> bool:
    try:
        return DagsterGrpcClient(socket=address).ping("") is not None
    except DagsterUserCodeUnreachableError:
        return False


@dataclass
class Deployment:
    """An instance with the warm launcher and a workspace of one code server, as the web server has it."""

    home: Path
    code: Path
    instance: DagsterInstance
    workspace: WorkspaceProcessContext

    def launch(self, job: str, config: dict[str, Any] | None = None, **tags: str) -> str:
        pairs = [{"key": key, "value": value} for key, value in tags.items()]
        variables = {"job": job, "config": config or {}, "tags": pairs}
        result = execute_dagster_graphql(self.workspace.create_request_context(), LAUNCH, variables)
        assert result.data["launchRun"]["__typename"] == "LaunchRunSuccess", result.data
        return str(result.data["launchRun"]["run"]["runId"])

    def launch_waiting(self, name: str, **tags: str) -> Waiting:
        started, go = self.home / f"{name}.started", self.home / f"{name}.go"
        ops = {"wait_for_file": {"config": {"started": str(started), "go": str(go)}}}
        return Waiting(self.launch("waits", {"ops": ops}, **tags), started, go)

    def status(self, run_id: str) -> DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def end(self, run_id: str) -> DagsterRunStatus:
        until(lambda: self.status(run_id) in ENDED, f"the end of {run_id}")
        return self.status(run_id)

    def health(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return self.launcher.check_run_worker_health(run).status.value

    def messages(self, run_id: str) -> str:
        return "\n".join(str(entry.message) for entry in self.instance.all_logs(run_id))

    @property
    def launcher(self) -> WarmRunLauncher:
        launcher = self.instance.run_launcher
        assert isinstance(launcher, WarmRunLauncher)
        return launcher

    @property
    def channel(self) -> Channel:
        (lock,) = (self.home / "warm_launcher").glob("*.lock")
        return Channel(lock.parent, lock.stem)

    def worker(self) -> dict[str, Any]:
        return self.channel.ask({"do": "describe"})

    def log(self) -> str:
        return self.channel.log.read_text()


@dataclass
class Waiting:
    """A run that goes on until it is let go."""

    run_id: str
    started: Path
    go: Path

    @property
    def pid(self) -> int:
        """Its process, once it has begun."""
        return int(until(lambda: self.started.exists() and self.started.read_text(), "a run's begin"))


@contextmanager
def deploy(home: Path, code: Path, address: str, config: dict[str, Any], **more: Any) -> Iterator[Deployment]:
    """A deployment whose worker, if one was started, is stopped at the end and leaves no process."""
    home.mkdir(parents=True)
    settings = {
        "telemetry": {"enabled": False},
        "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"},
        "run_launcher": {
            "module": "sentinet_dagster.launcher",
            "class": "WarmRunLauncher",
            "config": {"idle_timeout_seconds": 120, **config},
        },
        **more,
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    target = GrpcServerTarget(host="localhost", port=None, socket=address, location_name="warm")
    with (
        DagsterInstance.from_config(str(home)) as instance,
        WorkspaceProcessContext(instance, target) as workspace,
    ):
        deployment = Deployment(home, code, instance, workspace)
        try:
            yield deployment
        finally:
            stop_worker(deployment)


def stop_worker(deployment: Deployment) -> None:
    if not (deployment.home / "warm_launcher").exists():
        return
    try:
        worker = psutil.Process(deployment.worker()["pid"])
        deployment.channel.ask({"do": "stop"})
    except (WorkerGoneError, psutil.NoSuchProcess):
        return
    worker.wait(PATIENCE)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("warm") / "code"
    with serve_code(directory):
        yield directory


@pytest.fixture
def warm(tmp_path: Path, code: Path) -> Iterator[Deployment]:
    with deploy(tmp_path / "home", code, str(code / "grpc.sock"), {}) as deployment:
        yield deployment


def test_a_run_succeeds_with_its_events_and_its_printed_lines(warm: Deployment) -> None:
    run_id = warm.launch("succeeds")
    assert warm.end(run_id) == DagsterRunStatus.SUCCESS
    messages = warm.messages(run_id)
    assert "code version 1" in messages
    assert "Started process for run (pid: " in messages
    until(lambda: "Process for run exited (pid: " in warm.messages(run_id), "the end of its process")
    worker = warm.worker()
    assert worker["hazard"] is None
    assert worker["skipped"] == []
    (key,) = [
        entry.dagster_event.logs_captured_data.file_key
        for entry in warm.instance.all_logs(run_id)
        if entry.dagster_event and entry.dagster_event.event_type_value == "LOGS_CAPTURED"
    ]
    log = warm.instance.compute_log_manager.get_log_data([run_id, "compute_logs", key])
    assert b"printed by" in (log.stdout or b"")
    until(lambda: warm.health(run_id) == "SUCCESS", "a reaped run")
    assert psutil.Process(worker["pid"]).children() == []


def test_runs_are_forked_from_one_worker_and_are_sessions_of_their_own(warm: Deployment) -> None:
    runs = [warm.launch_waiting(name) for name in ("a", "b")]
    worker = warm.worker()["pid"]
    for run in runs:
        assert psutil.Process(run.pid).ppid() == worker
        assert os.getsid(run.pid) == run.pid
        assert warm.health(run.run_id) == "RUNNING"
        names = psutil.Process(run.pid).environ()
        assert "SECRET" not in " ".join(names)
    for run in runs:
        run.go.touch()
        assert warm.end(run.run_id) == DagsterRunStatus.SUCCESS


def test_a_failing_run_fails_by_itself(warm: Deployment) -> None:
    run_id = warm.launch("fails")
    assert warm.end(run_id) == DagsterRunStatus.FAILURE
    until(lambda: warm.health(run_id) == "SUCCESS", "its process, which knew how to fail")
    assert "without finishing the run" not in warm.messages(run_id)


def test_a_run_is_terminated_from_another_process(warm: Deployment) -> None:
    run = warm.launch_waiting("a")
    assert run.pid
    script = (
        "import sys; from dagster import DagsterInstance\n"
        "with DagsterInstance.get() as instance: print(instance.run_launcher.terminate(sys.argv[1]))"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, run.run_id],
        env=environment(warm.home), capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert other.stdout.split() == ["True"]
    assert warm.end(run.run_id) == DagsterRunStatus.CANCELED
    until(lambda: not psutil.pid_exists(run.pid), "the end of its process")
    assert warm.launcher.terminate(run.run_id) is False


def test_the_ui_terminates_a_run_that_ignores_it(tmp_path: Path, code: Path) -> None:
    config = {"terminate_grace_seconds": 1}
    with deploy(tmp_path / "home", code, str(code / "grpc.sock"), config) as warm:
        started = warm.home / "started"
        run_id = warm.launch("hangs", {"ops": {"ignore_interrupts": {"config": {"started": str(started)}}}})
        until(started.exists, "the run's begin")
        request = warm.workspace.create_request_context()
        result = execute_dagster_graphql(request, TERMINATE, {"run": run_id})
        assert result.data["terminateRun"]["__typename"] == "TerminateRunSuccess"
        assert warm.end(run_id) == DagsterRunStatus.CANCELED
        assert "was killed by signal 9" in warm.messages(run_id)


def test_a_killed_run_is_reported_at_once(warm: Deployment) -> None:
    run = warm.launch_waiting("a")
    os.kill(run.pid, signal.SIGKILL)
    assert warm.end(run.run_id) == DagsterRunStatus.FAILURE
    assert f"(pid: {run.pid}) was killed by signal 9 (SIGKILL)" in warm.messages(run.run_id)
    assert warm.health(run.run_id) == "FAILED"
    assert "-9" in str(warm.launcher.get_run_worker_debug_info(warm.instance.get_run_by_id(run.run_id)))


def test_user_code_that_exits_does_not_leave_a_run_running(warm: Deployment) -> None:
    run_id = warm.launch("exits", {"ops": {"exit_at_once": {"config": {"code": 3}}}})
    assert warm.end(run_id) == DagsterRunStatus.FAILURE
    assert "ended with exit code 3 without finishing the run" in warm.messages(run_id)
    quiet = warm.launch("exits", {"ops": {"exit_at_once": {"config": {"code": 0}}}})
    until(lambda: warm.health(quiet) == "FAILED", "run monitoring's view of a run that exited with 0")


def test_a_killed_worker_fails_its_runs_and_is_replaced(warm: Deployment) -> None:
    run = warm.launch_waiting("a")
    first = warm.worker()["pid"]
    assert run.pid
    os.kill(first, signal.SIGKILL)
    assert warm.end(run.run_id) == DagsterRunStatus.FAILURE
    until(lambda: not psutil.pid_exists(run.pid), "the end of its process")
    assert warm.health(run.run_id) == "NOT_FOUND"
    assert warm.end(warm.launch("succeeds")) == DagsterRunStatus.SUCCESS
    assert warm.worker()["pid"] != first


def test_runs_killed_together_with_their_worker_are_failed_by_the_next(warm: Deployment) -> None:
    run = warm.launch_waiting("a")
    os.kill(run.pid, signal.SIGSTOP)  # so that it cannot report anything itself
    os.kill(warm.worker()["pid"], signal.SIGKILL)
    os.kill(run.pid, signal.SIGKILL)
    assert warm.status(run.run_id) == DagsterRunStatus.STARTED
    assert warm.end(warm.launch("succeeds")) == DagsterRunStatus.SUCCESS
    assert warm.end(run.run_id) == DagsterRunStatus.FAILURE
    assert "The warm worker that the run was forked from has died" in warm.messages(run.run_id)


def test_the_bound_holds_and_the_queue_survives_the_worker(tmp_path: Path, code: Path) -> None:
    config = {"max_concurrent_runs": 1}
    with deploy(tmp_path / "home", code, str(code / "grpc.sock"), config) as warm:
        first, second = warm.launch_waiting("first"), warm.launch_waiting("second")
        third, canceled = warm.launch("succeeds"), warm.launch("succeeds")
        assert first.pid
        assert warm.worker()["waiting"] == [second.run_id, third, canceled]
        assert warm.status(second.run_id) == DagsterRunStatus.STARTING
        assert warm.health(second.run_id) == "RUNNING"
        assert warm.launcher.terminate(canceled) is True
        assert warm.end(canceled) == DagsterRunStatus.CANCELED
        first.go.touch()
        assert second.pid
        assert warm.end(first.run_id) == DagsterRunStatus.SUCCESS
        os.kill(warm.worker()["pid"], signal.SIGKILL)
        last = warm.launch("succeeds")
        assert warm.end(second.run_id) == DagsterRunStatus.FAILURE
        assert warm.end(third) == DagsterRunStatus.SUCCESS
        assert warm.end(last) == DagsterRunStatus.SUCCESS


def test_launchers_in_two_processes_share_a_worker(warm: Deployment) -> None:
    workspace = {
        "load_from": [{"grpc_server": {"socket": str(warm.code / "grpc.sock"), "location_name": "warm"}}]
    }
    (warm.home / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    command = [
        sys.executable,
        "-m",
        "dagster",
        "job",
        "launch",
        "-w",
        str(warm.home / "workspace.yaml"),
        "-j",
        "succeeds",
    ]
    others = [
        subprocess.Popen(
            [*command, "--location", "warm"], env=environment(warm.home), stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for other in others:
        _, said = other.communicate(timeout=PATIENCE)
        assert other.returncode == 0, said
    runs = warm.instance.get_runs()
    assert len(runs) == 2
    assert {warm.end(run.run_id) for run in runs} == {DagsterRunStatus.SUCCESS}
    assert warm.log().count("Warm worker ready") == 1


def test_changed_code_is_used_by_the_next_run(tmp_path: Path) -> None:
    directory = tmp_path / "code"
    with serve_code(directory) as address, deploy(tmp_path / "home", directory, address, {}) as warm:
        held = warm.launch_waiting("held")
        assert held.pid
        source = directory / "location.py"
        source.write_text(source.read_text().replace("VERSION = 1", "VERSION = 2"))
        changed = warm.launch("succeeds")
        assert warm.end(changed) == DagsterRunStatus.SUCCESS
        assert "code version 2" in warm.messages(changed)
        assert psutil.Process(held.pid).ppid() == warm.worker()["pid"]
        held.go.touch()
        assert warm.end(held.run_id) == DagsterRunStatus.SUCCESS

        source.write_text("this is not Python\n")
        broken = warm.launch("succeeds")
        assert warm.end(broken) == DagsterRunStatus.FAILURE
        assert "Could not load job definition" in warm.messages(broken)

        shutil.copy(LOCATION, source)
        mended = warm.launch("succeeds")
        assert warm.end(mended) == DagsterRunStatus.SUCCESS
        assert "code version 1" in warm.messages(mended)


def test_code_that_starts_threads_when_imported_is_not_preloaded(tmp_path: Path) -> None:
    directory = tmp_path / "code"
    with serve_code(directory) as address, deploy(tmp_path / "home", directory, address, {}) as warm:
        source = directory / "location.py"
        thread = "threading.Thread(target=threading.Event().wait, daemon=True, name='early').start()"
        source.write_text(f"{source.read_text()}\nimport threading\n{thread}\n")
        for _ in range(2):
            run_id = warm.launch("succeeds")
            assert warm.end(run_id) == DagsterRunStatus.SUCCESS
        assert warm.worker()["hazard"] is None
        assert len(warm.worker()["skipped"]) == 1
        assert "makes forking unsafe (threads run: early)" in warm.log()
        assert warm.log().count("Warm worker ready") == 2  # at first, and without it


def test_run_monitoring_resumes_a_run_whose_process_died(tmp_path: Path, code: Path) -> None:
    import logging

    from dagster._daemon.monitoring import execute_run_monitoring_iteration

    monitoring = {"enabled": True, "max_resume_run_attempts": 1}
    address = str(code / "grpc.sock")
    with deploy(tmp_path / "home", code, address, {}, run_monitoring=monitoring) as warm:
        tries = {"ops": {"die_the_first_time": {"config": {"tries": str(warm.home / "tries")}}}}
        run_id = warm.launch("dies_once", tries)
        until(lambda: "was killed by signal 9" in warm.messages(run_id), "the report of its death")
        assert warm.status(run_id) == DagsterRunStatus.STARTED
        errors = list(execute_run_monitoring_iteration(warm.workspace, logging.getLogger("monitoring")))
        assert errors == [None]
        assert warm.end(run_id) == DagsterRunStatus.SUCCESS
        assert "Launching a new run worker to resume run" in warm.messages(run_id)
        until(lambda: warm.health(run_id) == "SUCCESS")


def test_the_multiprocess_executor_and_the_queued_coordinator_work(tmp_path: Path, code: Path) -> None:
    from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

    queued = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
    address = str(code / "grpc.sock")
    with deploy(tmp_path / "home", code, address, {}, run_coordinator=queued) as warm:
        run_id = warm.launch("many_processes")
        assert warm.status(run_id) == DagsterRunStatus.QUEUED
        with QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon:
            assert list(daemon.run_iteration(warm.workspace)) == [None]
        assert warm.end(run_id) == DagsterRunStatus.SUCCESS
        assert "code version 1" in warm.messages(run_id)


@contextmanager
def supervise(warm: Deployment, *options: str) -> Iterator[subprocess.Popen[str]]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "sentinet_dagster.launcher", "--working-directory", str(warm.code), *options],
        env=environment(warm.home), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def test_a_supervised_worker_serves_and_stops_with_its_runs(tmp_path: Path, code: Path) -> None:
    home = tmp_path / ("a" * 100) / "home"  # longer than a socket's address may be
    config = {"start_worker": False, "preload_location": False}
    with (
        deploy(home, code, str(code / "grpc.sock"), config) as warm,
        supervise(warm) as worker,
    ):
        run = warm.launch_waiting("a")
        assert psutil.Process(run.pid).ppid() == worker.pid
        worker.terminate()
        assert worker.wait(PATIENCE) == 0
        assert not psutil.pid_exists(run.pid)
        assert warm.end(run.run_id) == DagsterRunStatus.FAILURE
        assert not warm.channel.socket_path.exists()
        assert warm.health(run.run_id) == "NOT_FOUND"


def test_a_supervised_worker_stands_by_while_another_serves(warm: Deployment) -> None:
    assert warm.end(warm.launch("succeeds")) == DagsterRunStatus.SUCCESS
    first = warm.worker()["pid"]
    with supervise(warm) as worker:
        assert worker.stderr is not None
        assert "standing by" in worker.stderr.readline()
        os.kill(first, signal.SIGKILL)
        until(lambda: warm.channel.socket_path.exists() and _pid(warm) == worker.pid, "the successor")
        assert warm.end(warm.launch("succeeds")) == DagsterRunStatus.SUCCESS


def test_a_worker_standing_by_ends_the_one_that_serves(warm: Deployment) -> None:
    assert warm.end(warm.launch("succeeds")) == DagsterRunStatus.SUCCESS
    first = psutil.Process(warm.worker()["pid"])
    with supervise(warm) as worker:
        assert worker.stderr is not None
        assert "standing by" in worker.stderr.readline()
        worker.terminate()
        assert worker.wait(PATIENCE) == 0
        assert not psutil.pid_exists(first.pid) or first.status() == psutil.STATUS_ZOMBIE


def _pid(warm: Deployment) -> int:
    try:
        return int(warm.worker()["pid"])
    except WorkerGoneError:
        return 0


def test_a_supervised_worker_ends_with_its_parent(tmp_path: Path, code: Path) -> None:
    with deploy(tmp_path / "home", code, str(code / "grpc.sock"), {"start_worker": False}) as warm:
        command = [sys.executable, "-m", "sentinet_dagster.launcher", "--with-parent"]
        script = f"import subprocess, sys; subprocess.Popen({command!r}, cwd={str(code)!r}); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", script], env=environment(warm.home), stdin=subprocess.PIPE
        ) as parent:
            assert warm.end(warm.launch("succeeds")) == DagsterRunStatus.SUCCESS
            worker = psutil.Process(warm.worker()["pid"])
            parent.kill()
        worker.wait(PATIENCE)


def test_an_idle_worker_ends_and_the_next_launch_starts_another(tmp_path: Path, code: Path) -> None:
    config = {"idle_timeout_seconds": 1}
    with deploy(tmp_path / "home", code, str(code / "grpc.sock"), config) as warm:
        assert warm.end(warm.launch("succeeds")) == DagsterRunStatus.SUCCESS
        until(lambda: not warm.channel.socket_path.exists(), "the idle worker's end")
        assert warm.end(warm.launch("succeeds")) == DagsterRunStatus.SUCCESS


def test_a_worker_ends_when_its_home_is_gone(warm: Deployment) -> None:
    assert warm.end(warm.launch("succeeds")) == DagsterRunStatus.SUCCESS
    worker = psutil.Process(warm.worker()["pid"])
    shutil.rmtree(warm.home / "warm_launcher")
    worker.wait(PATIENCE)


def test_a_worker_that_cannot_start_says_why(tmp_path: Path, code: Path) -> None:
    config = {"start_worker": False, "start_timeout_seconds": 1}
    with deploy(tmp_path / "home", code, str(code / "grpc.sock"), config) as warm:
        result = execute_dagster_graphql(
            warm.workspace.create_request_context(), LAUNCH, {"job": "succeeds", "config": {}}
        )
        assert "no warm worker answers" in json.dumps(result.data)
        (run,) = warm.instance.get_runs()
        assert run.status == DagsterRunStatus.FAILURE
