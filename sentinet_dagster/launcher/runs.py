"""The runs a warm worker answers for, from the moment it takes them until they have ended; and their journal.

Pure bookkeeping: no process is forked, signalled or waited for here.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .channel import RunRequest
from .task import ProcessId, Task

ENDED_REMEMBERED = 1000


@dataclass(slots=True)
class Running:
    """A forked run; `kill_at` (monotonic seconds) is set once it was told to end."""

    request: RunRequest
    process: ProcessId
    kill_at: float | None = None


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a journal says besides its runs: the code locations served, and what must not be preloaded."""

    origins: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()


class Runs:
    """Runs that wait, run, are being settled (`repairs`, `repairing`), or have ended not long ago."""

    def __init__(self, instance_ref: str) -> None:
        self.waiting: deque[RunRequest] = deque()
        self.running: dict[str, Running] = {}
        self.repairs: deque[Task] = deque()
        self.repairing: dict[int, Task] = {}
        self._ended: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._instance_ref = instance_ref

    @property
    def busy(self) -> bool:
        """Whether a process is running or due."""
        return bool(self.running or self.repairs or self.repairing)

    def accept(self, request: RunRequest) -> None:
        """Take a run, once for each attempt: a caller who got no answer may ask again."""
        known = {waiting.run_id: waiting.attempt for waiting in self.waiting}
        known |= {run_id: attempt for run_id, (attempt, _) in self._ended.items()}
        known |= {run_id: run.request.attempt for run_id, run in self.running.items()}
        if known.get(request.run_id, -1) < request.attempt:
            self.waiting.append(request)

    def withdraw(self, run_id: str) -> None:
        """Forget a run that waits."""
        self.waiting = deque(request for request in self.waiting if request.run_id != run_id)

    def task(self, request: RunRequest) -> Task:
        """The execution of a run."""
        return Task(request, self._instance_ref)

    def repair(
        self, request: RunRequest, reason: str, patience: float, orphan: ProcessId | None = None
    ) -> None:
        """Have a run settled that cannot go on."""
        self.repairs.append(Task(request, self._instance_ref, reason, orphan, patience))

    def begun(self, task: Task, process: ProcessId) -> None:
        """Note the process of a task."""
        if task.reason is None:
            self.running[task.request.run_id] = Running(task.request, process)
        else:
            self.repairing[process.pid] = task

    def put_back(self, task: Task) -> None:
        """Undo taking a task: its process could not be made."""
        if task.reason is None:
            self.waiting.appendleft(task.request)
        else:
            self.repairs.appendleft(task)

    def of_process(self, pid: int) -> Running | None:
        """The run a process executes."""
        return next((run for run in self.running.values() if run.process.pid == pid), None)

    def ended(self, run: Running, code: int) -> None:
        """Note the end of a run's process."""
        del self.running[run.request.run_id]
        self._ended[run.request.run_id] = (run.request.attempt, code)
        while len(self._ended) > ENDED_REMEMBERED:
            self._ended.popitem(last=False)

    def status(self, run_id: str) -> dict[str, Any]:
        """Where a run is: running (pid), waiting (how many are ahead), ended (exit code) or unknown."""
        if run_id in self.running:
            return {"state": "running", "pid": self.running[run_id].process.pid}
        for ahead, request in enumerate(self.waiting):
            if request.run_id == run_id:
                return {"state": "waiting", "ahead": ahead}
        if run_id in self._ended:
            return {"state": "ended", "code": self._ended[run_id][1]}
        return {"state": "unknown"}

    def save(self, journal: Path, origins: Iterable[str], skip: Iterable[str]) -> None:
        """Write all down, whole or not at all, for the owner only: requests can hold a database password."""
        content = {
            "waiting": [asdict(request) for request in self.waiting],
            "running": [asdict(run) for run in self.running.values()],
            "repairs": [task.to_json() for task in self.repairs],
            "repairing": {pid: task.to_json() for pid, task in self.repairing.items()},
            "origins": sorted(origins),
            "skip": sorted(skip),
        }
        draft = journal.with_suffix(".draft")
        with suppress(FileNotFoundError):  # The home was removed: nobody will read it.
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(content))
            draft.replace(journal)

    def load(self, journal: Path, same_process: bool, patience: float) -> Inherited:
        """Take over a journal: after an exec its processes are our children, after a worker's death orphans.

        A new worker inherits nothing else: in its environment, other things may be safe to import.
        """
        if not journal.exists():
            return Inherited()
        content = json.loads(journal.read_text())
        self.waiting.extend(RunRequest(**fields) for fields in content["waiting"])
        self.repairs.extend(Task.from_json(text) for text in content["repairs"])
        repairing = {int(pid): Task.from_json(text) for pid, text in content["repairing"].items()}
        running = [
            Running(RunRequest(**fields["request"]), ProcessId(**fields["process"]), fields["kill_at"])
            for fields in content["running"]
        ]
        if same_process:
            self.repairing.update(repairing)
            self.running.update({run.request.run_id: run for run in running})
            return Inherited(tuple(content["origins"]), tuple(content["skip"]))
        self.repairs.extend(repairing.values())
        for run in running:
            self.repair(
                run.request, "The warm worker that the run was forked from has died.", patience, run.process
            )
        return Inherited()
