"""Debian's Chromium for the tests, installed where it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


class CannotRunError(Exception):
    """This machine cannot have it; the message is the reason, for `pytest.skip`."""


def find_chromium() -> Path:
    """The program, installed by apt if it is not there.

    Raises:
        CannotRunError: no apt, not root, or no such package in its sources.
    """
    if (found := shutil.which("chromium")) is None:
        if os.geteuid() != 0:
            raise CannotRunError("Chromium is not installed, and installing it needs root")
        if shutil.which("apt-get") is None:
            raise CannotRunError("Chromium is not installed, and there is no apt-get to install it with")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            done = subprocess.run(
                ["apt-get", "-qq", *words], capture_output=True, text=True, check=False, env=quiet
            )
            if done.returncode:
                raise CannotRunError(f"apt-get {words[0]} failed: {done.stderr.strip()[-300:]}")
        found = shutil.which("chromium")
    if found is None:
        raise CannotRunError("the package chromium has no program of the name")
    return Path(found)
