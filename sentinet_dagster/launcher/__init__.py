"""A run launcher that forks each run from a warm worker: the imports are paid once, not by every run.

    # dagster.yaml
    run_launcher:
      module: sentinet_dagster.launcher
      class: WarmRunLauncher
      config: {max_concurrent_runs: 4}

Remove these lines and Dagster's own launcher is back. Linux only. The worker is a single-threaded process
that has imported Dagster and the code location; one per instance and per environment of code (interpreter
and working directory), shared by the daemon, the web server and the command line through a socket in
`$DAGSTER_HOME/warm_launcher`. Whoever launches first starts it; or a supervisor does, with `python -m
sentinet_dagster.launcher`.

- A run is a process of its own, as with Dagster's launcher: same events, same compute logs, same
  cancellation. With the in-process executor all of it is warm. With the multiprocess executor the run is,
  but that executor starts a fresh interpreter for each step.
- Runs above `max_concurrent_runs` wait in the worker, first come first served, in state STARTING. Run
  monitoring's `start_timeout_seconds` counts that time; to hold many, limit them in the
  QueuedRunCoordinator.
- When a source file of the code location changes, the worker begins afresh before the next run.
- What starts threads or opens sockets when imported is not preloaded: runs import it themselves. Import
  such a library inside the ops and assets that use it, and the rest of the location stays warm. If its
  threads are known to idle, name them in `idle_threads` (polars: `polars-ooc-clea`) and it is warm, too.

What never lives here: anything of one project. The directory can be taken as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from dagster import DagsterInstance, DagsterInvariantViolationError, DagsterRun
from dagster._config.config_schema import UserConfigSchema
from dagster._core.errors import DagsterLaunchFailedError
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import (
    CheckRunHealthResult,
    LaunchRunContext,
    ResumeRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._core.origin import JobPythonOrigin
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs
from dagster._serdes import ConfigurableClass, serialize_value
from dagster._serdes.config_class import ConfigurableClassData

from .channel import Environment, RunRequest, WorkerGoneError, WorkerSettings, WorkerStartError, submit
from .configuration import SCHEMA, Configuration

__all__ = ["WarmRunLauncher"]


class WarmRunLauncher(RunLauncher[DagsterInstance], ConfigurableClass):
    """Launches runs by forking a warm worker; the module says what it promises and how it is configured."""

    def __init__(self, inst_data: ConfigurableClassData | None, configuration: Configuration) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if sys.platform != "linux":
            raise DagsterInvariantViolationError(
                "WarmRunLauncher needs Linux; remove run_launcher from dagster.yaml"
            )
        self._inst_data = inst_data
        self._configuration = configuration

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """What dagster.yaml said, so that other processes can make the same launcher."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The keys of `run_launcher.config`."""
        return SCHEMA

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Make the launcher from validated configuration."""
        return cls(inst_data, Configuration.of(config_value))

    def worker_settings(self, reference: InstanceRef, root: str, environment: Environment) -> WorkerSettings:
        """What the worker of this instance (with its files under `root`) and environment must know."""
        configuration = self._configuration
        return WorkerSettings(
            directory=configuration.directory or str(Path(root).absolute() / "warm_launcher"),
            name=environment.name,
            instance_ref=serialize_value(reference),
            max_concurrent_runs=configuration.max_concurrent_runs,
            terminate_grace_seconds=configuration.terminate_grace_seconds,
            idle_timeout_seconds=configuration.idle_timeout_seconds,
            preload_modules=configuration.preload_modules,
            preload_location=configuration.preload_location,
            watch_paths=configuration.watch_paths,
            idle_threads=configuration.idle_threads,
        )

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand the run to the worker, which then answers for it. Raises DagsterLaunchFailedError."""
        self._launch(context.dagster_run, ExecuteRunArgs, "execute_run", attempt=0)

    @property
    def supports_resume_run(self) -> bool:
        """A run whose process died can go on in another; how much is done again is up to its executor."""
        return True

    def resume_run(self, context: ResumeRunContext) -> None:
        """Let the run go on in a new process; called by run monitoring."""
        self._launch(
            context.dagster_run, ResumeRunArgs, "resume_run", attempt=context.resume_attempt_number or 1
        )

    def _launch(
        self, run: DagsterRun, kind: type[ExecuteRunArgs | ResumeRunArgs], command: str, attempt: int
    ) -> None:
        origin = run.job_code_origin
        if origin is None:
            raise _launch_failed(f"run {run.run_id} does not say where its code is, so it cannot be launched")
        environment = _environment(origin)
        remote = run.remote_job_origin
        request = RunRequest(
            run_id=run.run_id,
            attempt=attempt,
            command=command,
            # No exit code for failed runs: one then means a run whose end Dagster does not know.
            arguments=serialize_value(kind(origin, run.run_id, self._instance.get_ref(), None)),
            origin=serialize_value(origin.repository_origin),
            location=remote.location_name if remote is not None else None,
        )
        try:
            submit(
                self._settings(environment),
                environment,
                request,
                start=self._configuration.start_worker,
                timeout=self._configuration.start_timeout_seconds,
            )
        except WorkerStartError as error:
            raise _launch_failed(str(error)) from error

    def _settings(self, environment: Environment) -> WorkerSettings:
        return self.worker_settings(self._instance.get_ref(), self._instance.root_directory, environment)

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run, from any process: it ends CANCELED. False if it has ended or no worker has it."""
        run = self._instance.get_run_by_id(run_id) if self.has_instance else None
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        try:
            answer = self._ask(run, "terminate")
        except (WorkerGoneError, TimeoutError) as error:
            self._instance.report_engine_event(f"The run was not interrupted: {error}.", run, cls=type(self))
            return False
        if answer["state"] == "waiting":
            self._instance.report_run_canceled(
                run, message="The run was canceled before its process was started."
            )
        elif answer["state"] != "running":
            self._instance.report_engine_event(
                "The run was not interrupted: its warm worker has no process of it.", run, cls=type(self)
            )
        return answer["state"] in ("waiting", "running")

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring can ask for the state of a run's process."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """The state of the run's process. UNKNOWN only if a worker lives but does not answer."""
        try:
            answer = self._ask(run, "status")
        except WorkerGoneError as error:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, str(error))
        except TimeoutError:
            return CheckRunHealthResult(
                WorkerStatus.UNKNOWN, "the warm worker does not answer", transient=True
            )
        match answer["state"]:
            case "running":
                return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(answer["pid"]))
            case "waiting":
                return CheckRunHealthResult(WorkerStatus.RUNNING, _waits(answer))
            case "ended" if answer["code"] != 0:
                return CheckRunHealthResult(
                    WorkerStatus.FAILED, f"its process ended with code {answer['code']}"
                )
            case "ended":
                return self._check_end(run)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its warm worker has no process of it")

    def _check_end(self, run: DagsterRun) -> CheckRunHealthResult:
        """A process can end well without having finished its run: user code may exit anywhere."""
        now = self._instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished:
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its process ended without finishing the run")

    def get_run_worker_debug_info(
        self,
        run: DagsterRun,
        include_container_logs: bool | None = True,  # noqa: ARG002 -- Dagster's name, and there is no container
    ) -> str | None:
        """What is known of the run's process, for the message of a run that run monitoring gives up."""
        try:
            answer = self._ask(run, "status")
        except (WorkerGoneError, TimeoutError) as error:
            return f"Warm worker: {error}."
        if answer["state"] == "waiting":
            return f"Warm worker: the run {_waits(answer)}."
        log = self._settings(_environment(_origin(run))).channel.log
        return f"Warm worker: the run's process is {answer}; a worker that nobody supervises logs to {log}."

    def _ask(self, run: DagsterRun, what: str) -> dict[str, Any]:
        channel = self._settings(_environment(_origin(run))).channel
        return channel.ask({"do": what, "run_id": run.run_id})


def _launch_failed(message: str) -> DagsterLaunchFailedError:
    return DagsterLaunchFailedError(message)  # type: ignore[no-untyped-call]


def _waits(answer: Mapping[str, Any]) -> str:
    return f"waits for a place, behind {answer['ahead']} others (run_launcher.config.max_concurrent_runs)"


def _origin(run: DagsterRun) -> JobPythonOrigin:
    if run.job_code_origin is None:
        raise WorkerGoneError(f"run {run.run_id} does not say where its code is")
    return run.job_code_origin


def _environment(origin: JobPythonOrigin) -> Environment:
    pointer = origin.repository_origin.code_pointer
    return Environment(origin.executable_path, getattr(pointer, "working_directory", None))
