from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sentinet_dagster.runtime.errors import ProcessFailed
from sentinet_dagster.runtime.pids import survivors
from sentinet_dagster.runtime.processes import ProcessSpec, Restart, State, Supervisor, answers_http

STAY = "import signal; signal.pause()"
IGNORE_TERM = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({ready!r}, 'w'); signal.pause()"
)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supervisor(clock: Clock) -> Iterator[Supervisor]:
    with Supervisor(now=clock) as running:
        yield running


def spec(tmp_path: Path, code: str, name: str = "child", **changes: object) -> ProcessSpec:
    argv = [sys.executable, "-S", "-c", textwrap.dedent(code)]
    log_file = tmp_path / "logs" / f"{name}.log"
    return ProcessSpec(name=name, argv=argv, log_file=log_file, **changes)  # type: ignore[arg-type]


def pid_of(supervisor: Supervisor, name: str = "child") -> int:
    (pid,) = [status.pid for status in supervisor.status() if status.name == name]
    assert pid is not None
    return pid


def gone(*processes: psutil.Process) -> bool:
    return survivors(processes, timeout_s=60) == []


def end_of(process: psutil.Process) -> None:
    """Wait until a child has ended, leaving its exit status to be collected by the supervisor."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_output_goes_to_the_log_and_readiness_is_waited_for(tmp_path: Path, supervisor: Supervisor) -> None:
    ready = tmp_path / "ready"
    code = f"print('hello', flush=True); open({str(ready)!r}, 'w'); {STAY}"
    supervisor.start(spec(tmp_path, code, ready=ready.exists))
    supervisor.wait_until_ready()
    (status,) = supervisor.status()
    assert status.state is State.RUNNING
    assert (status.restarts, status.exit_code) == (0, None)
    assert (tmp_path / "logs" / "child.log").read_text() == "hello\n"


def test_the_environment_is_ours_plus_theirs_without_what_slows_python(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("OURS", "ours")
    ready = tmp_path / "ready"
    code = f"""
        import os, signal
        names = ("PYTHONDONTWRITEBYTECODE", "OURS", "THEIRS")
        print(*(os.environ.get(name) for name in names), flush=True)
        open({str(ready)!r}, "w")
        signal.pause()
    """
    supervisor.start(spec(tmp_path, code, env={"THEIRS": "theirs"}, ready=ready.exists))
    supervisor.wait_until_ready()
    assert (tmp_path / "logs" / "child.log").read_text() == "None ours theirs\n"


def test_a_child_that_ends_while_starting_is_told_with_its_log(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    log = tmp_path / "logs" / "child.log"
    log.parent.mkdir()
    log.write_text("of an earlier life\n")
    supervisor.start(spec(tmp_path, "raise SystemExit('no such setting: tick')", ready=lambda: False))
    with pytest.raises(ProcessFailed) as failure:
        supervisor.wait_until_ready()
    assert str(failure.value) == "child ended with 1 while starting\nno such setting: tick"


def test_a_child_that_never_gets_ready_is_told(tmp_path: Path, supervisor: Supervisor, clock: Clock) -> None:
    def not_yet() -> bool:
        clock.now += 20.0
        return False

    supervisor.start(spec(tmp_path, STAY, ready=not_yet, ready_s=30.0))
    with pytest.raises(ProcessFailed, match=r"^child was not ready after 30 s"):
        supervisor.wait_until_ready()


def test_a_program_that_is_missing_is_told(tmp_path: Path, supervisor: Supervisor) -> None:
    with pytest.raises(ProcessFailed, match=r"^x cannot be started: .*No such file"):
        supervisor.start(ProcessSpec("x", ["/no/such/program"], tmp_path / "x.log"))
    assert supervisor.status() == ()


def test_a_name_is_given_once(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(spec(tmp_path, STAY))
    with pytest.raises(ValueError, match="child is there already"):
        supervisor.start(spec(tmp_path, STAY))


def test_a_final_end_is_said_once(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(spec(tmp_path, "raise SystemExit(3)"))
    end_of(psutil.Process(pid_of(supervisor)))
    with pytest.raises(ProcessFailed, match=r"^child ended with 3"):
        supervisor.poll()
    supervisor.poll()
    (status,) = supervisor.status()
    assert (status.state, status.exit_code, status.pid) == (State.ENDED, 3, None)


def test_restarts_wait_longer_each_time_and_are_counted(
    tmp_path: Path, supervisor: Supervisor, clock: Clock
) -> None:
    policy = Restart(first_s=1.0, cap_s=3.0, healthy_after_s=60.0)
    supervisor.start(spec(tmp_path, STAY, restart=policy))
    for restarts, delay in enumerate((1.0, 2.0, 3.0, 3.0)):
        os.kill(pid_of(supervisor), signal.SIGKILL)
        end_of(psutil.Process(pid_of(supervisor)))
        supervisor.poll()
        (status,) = supervisor.status()
        assert (status.state, status.restarts, status.exit_code) == (State.WAITING, restarts, -signal.SIGKILL)
        clock.now += delay - 0.1
        supervisor.poll()
        assert supervisor.status()[0].state is State.WAITING
        clock.now += 0.1
        supervisor.poll()
        assert supervisor.status()[0].state is State.RUNNING
    clock.now += 61.0
    os.kill(pid_of(supervisor), signal.SIGKILL)
    end_of(psutil.Process(pid_of(supervisor)))
    supervisor.poll()
    clock.now += 1.0
    supervisor.poll()
    assert supervisor.status()[0].restarts == 5


def test_a_restarted_child_has_to_get_ready_again(
    tmp_path: Path, supervisor: Supervisor, clock: Clock
) -> None:
    ready = tmp_path / "ready"
    supervisor.start(spec(tmp_path, STAY, ready=ready.exists, restart=Restart()))
    ready.touch()
    supervisor.wait_until_ready()
    ready.unlink()
    os.kill(pid_of(supervisor), signal.SIGKILL)
    end_of(psutil.Process(pid_of(supervisor)))
    supervisor.poll()
    clock.now += 1.0
    supervisor.poll()
    supervisor.poll()
    assert supervisor.status()[0].state is State.STARTING
    ready.touch()
    supervisor.poll()
    assert supervisor.status()[0].state is State.RUNNING


def test_a_restarted_child_that_never_gets_ready_is_started_again(
    tmp_path: Path, supervisor: Supervisor, clock: Clock
) -> None:
    supervisor.start(spec(tmp_path, STAY, ready=lambda: False, ready_s=30.0, restart=Restart()))
    first = psutil.Process(pid_of(supervisor))
    clock.now += 31.0
    supervisor.poll()
    end_of(first)
    supervisor.poll()
    assert supervisor.status()[0].state is State.WAITING
    clock.now += 1.0
    supervisor.poll()
    assert supervisor.status()[0].restarts == 1


def test_stopping_goes_backwards(tmp_path: Path, supervisor: Supervisor) -> None:
    ends = tmp_path / "ends"
    for name in ("first", "second"):
        ready = tmp_path / f"{name}.ready"
        code = f"""
            import signal
            def end(*_):
                open({str(ends)!r}, "a").write({name!r} + "\\n")
                raise SystemExit
            signal.signal(signal.SIGTERM, end)
            open({str(ready)!r}, "w")
            signal.pause()
        """
        supervisor.start(spec(tmp_path, code, name, ready=ready.exists))
    supervisor.wait_until_ready()
    supervisor.stop_all()
    assert ends.read_text() == "second\nfirst\n"
    assert supervisor.status() == ()


def test_what_ignores_sigterm_is_killed_within_the_time(tmp_path: Path, supervisor: Supervisor) -> None:
    for name in ("a", "b", "c"):
        ready = tmp_path / name
        supervisor.start(
            spec(tmp_path, IGNORE_TERM.format(ready=str(ready)), name, ready=ready.exists, stop_s=60.0)
        )
    supervisor.wait_until_ready()
    processes = [psutil.Process(pid_of(supervisor, name)) for name in ("a", "b", "c")]
    supervisor.stop_all(within_s=1.3)
    assert gone(*processes)


def test_no_descendant_survives_a_stop_even_one_with_a_session_of_its_own(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    ready = tmp_path / "ready"
    grandchild = IGNORE_TERM.format(ready=str(ready))
    code = f"""
        import signal, subprocess, sys
        subprocess.Popen([sys.executable, "-S", "-c", {grandchild!r}], start_new_session=True)
        signal.pause()
    """
    supervisor.start(spec(tmp_path, code, ready=ready.exists))
    supervisor.wait_until_ready()
    child = psutil.Process(pid_of(supervisor))
    family = child.children()
    assert len(family) == 1
    supervisor.stop_all()
    assert gone(child, *family)


def test_what_an_ended_child_left_in_its_group_is_ended_too(tmp_path: Path, supervisor: Supervisor) -> None:
    left = tmp_path / "left"
    code = f"""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-S", "-c", {STAY!r}])
        open({str(left)!r}, "w").write(str(child.pid))
        raise SystemExit(1)
    """
    supervisor.start(spec(tmp_path, code, restart=Restart()))
    end_of(psutil.Process(pid_of(supervisor)))
    orphan = psutil.Process(int(left.read_text()))
    supervisor.poll()
    assert gone(orphan)


OWNER = """
import signal, sys
from pathlib import Path

import psutil

from sentinet_dagster.runtime.processes import ProcessSpec, Supervisor

folder = Path(sys.argv[1])
with Supervisor() as supervisor:
    for name in sys.argv[2:]:
        ready = folder / name
        ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if name == "stubborn" else ""
        code = f"import signal; {ignore}open({str(ready)!r}, 'w'); signal.pause()"
        argv = [sys.executable, "-S", "-c", code]
        supervisor.start(ProcessSpec(name, argv, folder / f"{name}.log", ready=ready.exists))
        if name == "guardless":
            (guard,) = [p for p in psutil.Process().children() if p.cmdline()[-1].endswith("guard.py")]
            guard.kill()
            guard.wait()
            supervisor.poll()
    supervisor.wait_until_ready()
    (folder / "pids").write_text(" ".join(str(status.pid) for status in supervisor.status()))
    print("up", file=sys.stderr, flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("names", [("obedient", "stubborn"), ("guardless", "later")])
def test_children_do_not_survive_a_killed_supervisor(tmp_path: Path, names: tuple[str, str]) -> None:
    """Not when one ignores SIGTERM, and not when the guard that was told of them had to be replaced."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), *names],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stderr is not None
        assert owner.stderr.readline() == "up\n"
        children = [psutil.Process(int(pid)) for pid in (tmp_path / "pids").read_text().split()]
        assert len(children) == 2
        owner.kill()
    assert gone(*children)


def test_the_http_probe(tmp_path: Path, supervisor: Supervisor) -> None:
    code = """
        import http.server
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == "/ready" else 503)
                self.end_headers()
        with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            open("port", "w").write(str(server.server_port))
            server.serve_forever()
    """
    port = tmp_path / "port"
    supervisor.start(
        spec(tmp_path, code, cwd=tmp_path, ready=lambda: port.exists() and port.read_text() != "")
    )
    supervisor.wait_until_ready()
    address = f"http://127.0.0.1:{port.read_text()}"
    assert answers_http(f"{address}/ready")()
    assert not answers_http(f"{address}/other")()
    supervisor.stop_all()
    assert not answers_http(f"{address}/ready")()
