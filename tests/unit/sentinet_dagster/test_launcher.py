"""The warm launcher's parts that need no run: configuration, names, journal, stamps, hazards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dagster import DagsterInvariantViolationError
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.ref import InstanceRef

from sentinet_dagster.launcher import WarmRunLauncher
from sentinet_dagster.launcher.channel import (
    Channel,
    Environment,
    RunRequest,
    WorkerGoneError,
    WorkerSettings,
)
from sentinet_dagster.launcher.process import explain_exit
from sentinet_dagster.launcher.runs import Runs
from sentinet_dagster.launcher.task import ProcessId, Task

SETTINGS = WorkerSettings("/somewhere", "name", "{}", 2, 30, 900, preload_modules=("json",))


def configure(**config: object) -> WarmRunLauncher:
    result = process_config(resolve_to_config_type(WarmRunLauncher.config_type()), config)
    assert result.success, result.errors
    assert result.value is not None
    return WarmRunLauncher.from_config_value(None, result.value)


def request(run_id: str = "run", attempt: int = 0) -> RunRequest:
    return RunRequest(run_id, attempt, "execute_run", "{}", "{}", "location")


def test_the_configuration_reaches_the_worker(tmp_path: Path) -> None:
    launcher = configure(max_concurrent_runs=3, preload_modules=["json"], watch_paths=["settings.yaml"])
    reference = InstanceRef.from_dir(str(tmp_path))
    settings = launcher.worker_settings(reference, str(tmp_path), Environment(sys.executable, None))
    assert settings.channel.directory == tmp_path / "warm_launcher"
    assert settings.max_concurrent_runs == 3
    assert settings.preload_modules == ("json",)
    assert settings.watch_paths == (str(Path("settings.yaml").absolute()),)
    assert settings.preload_location is True
    assert WorkerSettings.from_json(settings.to_json()) == settings


def test_a_directory_can_be_given(tmp_path: Path) -> None:
    launcher = configure(directory=str(tmp_path / "shared"))
    reference = InstanceRef.from_dir(str(tmp_path))
    settings = launcher.worker_settings(reference, str(tmp_path), Environment(sys.executable, None))
    assert settings.channel.directory == tmp_path / "shared"


@pytest.mark.parametrize("key", ["max_concurrent_runs", "start_timeout_seconds", "terminate_grace_seconds"])
def test_a_value_out_of_range_is_named(key: str) -> None:
    with pytest.raises(
        DagsterInvariantViolationError, match=rf"run_launcher\.config\.{key} must be . or more, not -1"
    ):
        configure(**{key: -1})


def test_an_unknown_key_is_refused() -> None:
    result = process_config(resolve_to_config_type(WarmRunLauncher.config_type()), {"max_runs": 1})
    assert not result.success
    assert "max_runs" in result.errors[0].message


def test_an_environment_has_one_name_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "code")
    plain = Environment("/env/bin/python", str(tmp_path / "code")).name
    assert Environment("/env/bin/python3", str(tmp_path / "link")).name == plain
    assert Environment("/env/bin/python", str(tmp_path)).name != plain
    assert Environment("/other/bin/python", str(tmp_path / "code")).name != plain


def test_a_channel_works_below_a_path_longer_than_an_address(tmp_path: Path) -> None:
    channel = Channel(tmp_path / ("d" * 120), "name")
    lock = channel.lock_life()
    assert lock is not None
    assert channel.lock_life() is None
    with pytest.raises(WorkerGoneError, match="no warm worker answers"):
        channel.ask({"do": "describe"})
    with channel.listen() as listener:
        assert channel.socket_path.stat().st_mode & 0o777 == 0o600

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.send(connection.recv(1000))

        server = threading.Thread(target=answer)
        server.start()
        assert channel.ask({"do": "describe"}) == {"do": "describe"}
        server.join()
        with pytest.raises(TimeoutError):
            channel.ask({"do": "describe"}, timeout=0.05)
    with pytest.raises(WorkerGoneError):
        channel.ask({"do": "describe"})
    os.close(lock)
    free = channel.lock_life()
    assert free is not None
    os.close(free)


def test_a_run_is_taken_once_for_each_attempt() -> None:
    runs = Runs("{}")
    runs.accept(request())
    runs.accept(request())
    assert list(runs.waiting) == [request()]
    runs.begun(runs.task(runs.waiting.popleft()), ProcessId(7, 1))
    runs.accept(request())
    assert not runs.waiting
    assert runs.status("run") == {"state": "running", "pid": 7}
    running = runs.of_process(7)
    assert running is not None
    runs.ended(running, -9)
    runs.accept(request())
    assert not runs.waiting
    assert runs.status("run") == {"state": "ended", "code": -9}
    runs.accept(request(attempt=1))
    assert runs.status("run") == {"state": "waiting", "ahead": 0}
    runs.withdraw("run")
    assert not runs.waiting
    assert runs.status("other") == {"state": "unknown"}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """What a worker with one run in each state leaves."""
    runs = Runs("{}")
    for name in ("running", "waiting"):
        runs.accept(request(name))
    runs.begun(runs.task(runs.waiting.popleft()), ProcessId(7, 1))
    runs.repair(request("due"), "it died", patience=1.0)
    runs.begun(Task(request("settled"), "{}", "it died too"), ProcessId(8, 1))
    runs.save(tmp_path / "journal", {"origin"}, {"polars"})
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600
    return tmp_path / "journal"


def test_after_an_exec_the_journal_gives_all_back(journal: Path) -> None:
    runs = Runs("{}")
    inherited = runs.load(journal, same_process=True, patience=1.0)
    assert (inherited.origins, inherited.skip) == (("origin",), ("polars",))
    assert runs.running["running"].process == ProcessId(7, 1)
    assert [waiting.run_id for waiting in runs.waiting] == ["waiting"]
    assert [task.request.run_id for task in runs.repairs] == ["due"]
    assert runs.repairing[8].request.run_id == "settled"


def test_after_a_death_the_journal_gives_orphans(journal: Path) -> None:
    runs = Runs("{}")
    inherited = runs.load(journal, same_process=False, patience=1.0)
    assert (inherited.origins, inherited.skip) == ((), ())
    assert not runs.running
    assert not runs.repairing
    assert [waiting.run_id for waiting in runs.waiting] == ["waiting"]
    assert [(task.request.run_id, task.orphan) for task in runs.repairs] == [
        ("due", None),
        ("settled", None),
        ("running", ProcessId(7, 1)),
    ]


def test_a_task_travels_as_text() -> None:
    task = Task(request(), "{}", "reason", ProcessId(1, 2), 3.0)
    assert Task.from_json(task.to_json()) == task


def test_a_process_is_told_from_a_later_one_of_its_number() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = ProcessId.of(child.pid)
        assert process.alive
        assert not ProcessId(child.pid, process.began + 1).alive
        child.communicate()
    assert not process.alive
    assert not ProcessId.of(child.pid).alive


@pytest.mark.parametrize(
    ("code", "clause"),
    [
        (3, "ended with exit code 3"),
        (-15, "was killed by signal 15 (SIGTERM)"),
        (-9, "memory runs out"),
        (-63, "was killed by signal 63 (unknown)"),
    ],
)
def test_an_exit_code_is_explained(code: int, clause: str) -> None:
    assert clause in explain_exit(code)


def in_a_fresh_interpreter(script: str, home: Path) -> list[str]:
    """The lines a script prints: a test run has threads and sockets of its own, which are hazards."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": os.pathsep.join([str(home), *sys.path])},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return done.stdout.splitlines()


def test_threads_and_sockets_are_hazards(tmp_path: Path) -> None:
    script = """
import socket, threading
from sentinet_dagster.launcher.preload import fork_hazard, open_sockets
print(fork_hazard())
held = socket.socket()
print(fork_hazard())
print(fork_hazard(open_sockets()))
threading.Thread(target=threading.Event().wait, name="busy", daemon=True).start()
print(fork_hazard())
"""
    assert in_a_fresh_interpreter(script, tmp_path) == [
        "None",
        "1 sockets are open",
        "None",
        "threads run: busy",
    ]


def test_threads_that_the_user_vouches_for_are_no_hazard_and_forks_work(tmp_path: Path) -> None:
    """polars, preloaded: its engine starts in each fork, and its allocator has no thread to miss."""
    script = """
import os
from sentinet_dagster.launcher.preload import WITHOUT_BACKGROUND, fork_hazard
os.environ.update(WITHOUT_BACKGROUND)
import polars as pl
print(fork_hazard())
print(fork_hazard(idle_threads=["polars-ooc-clea"]))
def work():
    frame = pl.DataFrame({"key": range(200_000)}).with_columns(group=pl.col("key") % 1000)
    sums = frame.lazy().group_by("group").agg(pl.col("key").sum()).collect()
    os._exit(0 if sums["key"].sum() == frame["key"].sum() and len(sums) == 1000 else 1)
children = []
for _ in range(12):
    if (child := os.fork()) == 0:
        work()
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
"""
    assert in_a_fresh_interpreter(script, tmp_path) == [
        "native threads run: polars-ooc-clea",
        "None",
        str([0] * 12),
    ]


CODE = """
import os, sys
from pathlib import Path
from dagster._core.instance.ref import InstanceRef
from sentinet_dagster.launcher.preload import Code
code = Code(InstanceRef.from_dir(os.environ["DAGSTER_HOME"]), [os.environ["DAGSTER_HOME"] + "/watched"])
"""


def test_a_change_of_what_was_imported_or_is_watched_is_seen(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").touch()
    (tmp_path / "watched").mkdir()
    (tmp_path / "mine.py").write_text("value = 1\n")
    (tmp_path / "broken.py").write_text("raise RuntimeError('at import')\n")
    for path in ("mine.py", "watched"):
        os.utime(tmp_path / path, (1, 1))
    script = f"""{CODE}
print(code.load_modules(["mine", "broken"]))
print(code.changed())
Path("unrelated.py").touch()
print(code.changed())
Path("mine.py").write_text("value = 22")
print(Path(code.changed()).name)
os.utime("mine.py", (1, 1))
Path("mine.py").write_text("value = 1\\n")
os.utime("mine.py", (1, 1))
print(code.changed())
Path("watched/new.yaml").touch()
os.utime("watched", (1, 1))
print(Path(code.changed()).name)
Path("watched/new.yaml").unlink()
os.utime("watched", (1, 1))
Path(".env").touch()
print(Path(code.changed()).name)
"""
    seen = in_a_fresh_interpreter(script, tmp_path)
    assert seen == ["None", "None", "None", "mine.py", "None", "new.yaml", ".env"]


def test_what_starts_threads_is_named_and_can_be_skipped(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").touch()
    (tmp_path / "busy.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    script = f"""{CODE}
code.skip.add("skipped")
print(code.load_modules(["json", "skipped", "busy", "wave"]))
print("json" in sys.modules, "wave" in sys.modules)
"""
    assert in_a_fresh_interpreter(script, tmp_path) == ["busy", "True False"]
