"""Prometheus' own judge of metrics, for the tests: fetched by `scripts/promtool.sh` into the tests' cache.

The cache is `SENTINET_TEST_CACHE`, default ~/.cache/sentinet.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "promtool.sh"


class CannotRunError(Exception):
    """This machine cannot have it; the message is the reason, for `pytest.skip`."""


def find_promtool() -> Path:
    """The program, fetched if it is not there.

    Raises:
        CannotRunError: no apt, or no such package in its sources.
    """
    default = Path("~/.cache/sentinet").expanduser()
    directory = Path(os.environ.get("SENTINET_TEST_CACHE", default)) / "promtool"
    found = subprocess.run(["sh", str(SCRIPT), str(directory)], capture_output=True, text=True, check=False)
    if found.returncode == 3:
        raise CannotRunError(found.stderr.strip().splitlines()[-1])
    if found.returncode != 0:
        raise RuntimeError(f"{SCRIPT.name} failed with {found.returncode}: {found.stderr.strip()}")
    return directory / "promtool"


def complaints_about(page: str) -> str:
    """What `promtool check metrics` says of a page; "" if nothing. Raises CannotRunError."""
    done = subprocess.run(
        [find_promtool(), "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    return f"{done.stdout}{done.stderr}".strip() or (
        f"exit code {done.returncode}" if done.returncode else ""
    )
