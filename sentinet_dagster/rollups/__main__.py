"""`python -m sentinet_dagster.rollups`: what `make install` does so that no home has to parse the project."""

from __future__ import annotations

import sys

from sentinet_dagster.rollups.project import INSTALLED, DbtFailed, RollupProject

try:
    RollupProject(INSTALLED).catalogue()
except DbtFailed as error:
    sys.exit(f"sentinet: {error}")
