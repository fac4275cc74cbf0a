"""The `sentinet` command: wires the commands and turns every failure into one clear line and an exit code.

What lives here: the table of commands. What never does: what they do (`commands/`). Heavy imports (Dagster,
polars, drivers) stay inside the commands: `sentinet --help` must answer at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from sentinet_dagster.commands import (
    alerts,
    backfill,
    benchmark,
    calibrate,
    check,
    dashboards,
    demo,
    evaluate,
    migrate,
    replay,
    rollups,
    service,
    venues,
)
from sentinet_dagster.commands.console import EXIT_INTERRUPTED, EXIT_NO, EXIT_USER, log_to_stderr, say
from sentinet_dagster.runtime.errors import ProcessFailed, UserError

app = typer.Typer(
    name="sentinet",
    help="Market surveillance: exchange feeds in, alerts out, with how whole their data was.",
    epilog="State lives under SENTINET_HOME (default .sentinet); SENTINET_DATABASE_URL replaces its server.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("up")(service.up)
app.command("down")(service.down)
app.command("status")(service.status)
app.command("migrate")(migrate.migrate)
app.command("replay")(replay.replay)
app.command("venues")(venues.venues)
app.command("backfill")(backfill.backfill)
app.command("check")(check.check)
app.command("calibrate")(calibrate.calibrate)
app.add_typer(rollups.app, name="rollups")
app.add_typer(dashboards.app, name="dashboards")
app.add_typer(alerts.app, name="alerts")
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(evaluate.app, name="evaluate")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sentinet {version('sentinet')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
    log_to_stderr()


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code (`commands/console.py` says what each means)."""
    try:
        outcome = app(args=list(arguments), prog_name="sentinet", standalone_mode=False)
    except UserError as error:
        return _fail(error, EXIT_USER)
    except ProcessFailed as error:
        return _fail(error, EXIT_NO)
    except typer.TyperException as error:
        return _fail(" ".join(error.format_message().split()), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away: `sentinet alerts | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NO
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _fail(f"{error.filename or 'a file'} cannot be written: {error.strerror}", EXIT_USER)
    return outcome if isinstance(outcome, int) else 0


def _fail(message: object, code: int) -> int:
    say(f"sentinet: {message}")
    return code


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
