"""What a warm worker imports before it forks, whether that is still what is on disk, whether a fork is safe.

Nothing here forks, listens or talks to an instance's storage.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path

from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._core.origin import RepositoryPythonOrigin
from dagster._core.secrets.env_file import get_env_var_dict
from dagster._serdes import deserialize_value
from dagster._serdes.config_class import ConfigurableClassData

# OpenBLAS starts its threads when it is loaded (by `import numpy`); with one thread it starts none. OpenMP,
# MKL and rayon start theirs when first used, which is after the fork.
SINGLE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}

# The jemallocs inside polars and pyarrow, each by its own prefix. Added to what is set: the last word counts.
WITHOUT_BACKGROUND = {
    "_RJEM_MALLOC_CONF": "background_thread:false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}

# What Dagster imports when it executes a run. A name that a release drops costs time, nothing else.
_IMPORTED_LATE = (
    "dagster._cli",
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.executor.multiprocess",
    "dagster._core.utility_ops",
    "upath.implementations.local",
)

Stamp = tuple[int, int] | None

logger = logging.getLogger(__name__)


def fork_hazard(known_sockets: Iterable[str] = (), idle_threads: Iterable[str] = ()) -> str | None:
    """Why a fork would be a broken copy, or None: other threads hold locks, sockets would be shared.

    `idle_threads` are the names of native threads that the user vouches for: idle, and not missed by a run.
    """
    if threading.active_count() > 1:
        names = sorted(
            thread.name for thread in threading.enumerate() if thread is not threading.main_thread()
        )
        return f"threads run: {', '.join(names)}"
    tasks = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
    if names := sorted({_text(task / "comm") for task in tasks}.difference(idle_threads)):
        return f"native threads run: {', '.join(names)}"
    if opened := open_sockets() - set(known_sockets):
        return f"{len(opened)} sockets are open"
    return None


def open_sockets() -> set[str]:
    """The sockets this process holds, by name and inode."""
    links = set()
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- os.readlink wants no Path
        try:
            links.add(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        except FileNotFoundError:  # the listing's own descriptor
            continue
    return {link for link in links if link.startswith("socket:")}


class Code:
    """The code a worker holds: what it loaded, and the stamps of the files that came from."""

    def __init__(
        self, instance_ref: InstanceRef, watch_paths: Iterable[str], idle_threads: Iterable[str] = ()
    ) -> None:
        self.skip: set[str] = set()
        self.origins: set[str] = set()
        self._instance_ref = instance_ref
        self._watch_paths = [Path(path) for path in watch_paths]
        self._idle_threads = frozenset(idle_threads)
        self._loaded: set[str] = set()
        self._stamps: dict[str, Stamp] = {}

    def fork_hazard(self, known_sockets: Iterable[str]) -> str | None:
        """Why a fork of this process would be a broken copy, or None."""
        return fork_hazard(known_sockets, self._idle_threads)

    def load_modules(self, names: Iterable[str]) -> str | None:
        """Import what Dagster, this instance and the user need; the key of what makes forking unsafe."""
        if not self._load("the instance", self._load_dagster):
            return "the instance"
        return next((name for name in names if not self._load(name, partial(import_module, name))), None)

    def _load_dagster(self) -> None:
        classes = (part for part in self._instance_ref if isinstance(part, ConfigurableClassData))
        for name in (*_IMPORTED_LATE, *(part.module_name for part in classes)):
            with suppress(ModuleNotFoundError):
                import_module(name)
        # Opened and closed once: its storage classes, their driver and what these prepare when first used.
        with DagsterInstance.from_ref(self._instance_ref):
            pass

    def load_location(self, key: str, location: str | None) -> str | None:
        """Import the code location of a serialised origin; the same key if that starts threads."""
        origin = deserialize_value(key, RepositoryPythonOrigin)

        def load() -> None:
            target = origin.code_pointer.load_target()
            # Dagster keeps what it makes of a location's definitions: each run would make it anew.
            if callable(resolve := getattr(target, "get_repository_def", None)):
                resolve()

        self.origins.add(key)
        with self._secrets(location):
            return None if self._load(key, load) else key

    def _load(self, key: str, load: Callable[[], object]) -> bool:
        """Load once; False if that made forking unsafe. What fails is left to the run: its events show it."""
        if key in self._loaded or key in self.skip or self.fork_hazard(open_sockets()) is not None:
            return True
        before, began = open_sockets(), time.time_ns()
        try:
            load()
        except Exception:  # user code: it may raise anything
            logger.exception("Cannot preload, runs import it themselves: %s", key)
            return True
        self._loaded.add(key)
        self._stamp(began)
        gc.collect()
        gc.freeze()
        if hazard := self.fork_hazard(before):
            logger.warning("Preloading %s makes forking unsafe (%s), runs import it themselves", key, hazard)
            return False
        return True

    @contextmanager
    def _secrets(self, location: str | None) -> Iterator[None]:
        """The variables Dagster would inject for this location, while its code is imported and no longer."""
        loader = self._instance_ref.secrets_loader
        secrets = get_env_var_dict(str(Path.cwd()))
        if loader is not None:
            secrets.update(loader.get_secrets_for_environment(location))
        before = {name: os.environ.get(name) for name in secrets}
        os.environ.update(secrets)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def changed(self) -> str | None:
        """A file that is not what it was when imported, or None. One `stat` for each file of the project."""
        for path, stamp in self._stamps.items():
            if _stamp(path) != stamp:
                return path
        return next((path for path in self._watched() if path not in self._stamps), None)

    def _stamp(self, began: int) -> None:
        """Remember the files. One written since `began` may have been read before: it counts as changed."""
        now = time.time_ns()
        for path in (*_project_files(), *self._watched()):
            if path in self._stamps:
                continue
            stamp = _stamp(path)
            self._stamps[path] = None if stamp is not None and began <= stamp[0] <= now else stamp

    def _watched(self) -> Iterator[str]:
        yield str(Path.cwd() / ".env")
        for path in self._watch_paths:
            yield str(path)
            yield from (str(inner) for inner in path.rglob("*") if inner.is_file())
        # Installing a package changes the directory it is installed in.
        yield from (entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages")))


def _project_files() -> Iterator[str]:
    """The source files of imported modules, but for the standard library and installed packages."""
    library = (sysconfig.get_path("stdlib") + os.sep, sysconfig.get_path("platstdlib") + os.sep)
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or path.startswith(library):
            continue
        if "site-packages" not in path and "dist-packages" not in path:
            yield path


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 -- once for each file and launch
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "ended"
