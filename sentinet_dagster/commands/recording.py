"""`--record`: the same option of every command that starts the ingest daemon.

What lives here: the option, and handing it to the daemon. What never does: recording (`ingest_daemon`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

_VARIABLE = "SENTINET_INGEST_RECORD"

RecordOption = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="DIR",
        help="Record raw frames there, as `sentinet replay` reads them.",
        show_default=False,
    ),
]


def record_into(directory: Path | None) -> None:
    """Tell the daemons that this process starts, which run in another folder than the user is in."""
    said = directory or os.environ.get(_VARIABLE)
    if said:
        os.environ[_VARIABLE] = str(Path(said).absolute())
