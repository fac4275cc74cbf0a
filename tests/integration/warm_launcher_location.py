"""A small code location for the warm launcher's tests: runs that end in every way a run can."""

import os
import signal
import time
from pathlib import Path

from dagster import (
    Definitions,
    In,
    Nothing,
    OpExecutionContext,
    in_process_executor,
    job,
    multiprocess_executor,
    op,
)

VERSION = 1


@op
def say_version(context: OpExecutionContext) -> None:
    context.log.info("code version %s", VERSION)
    print(f"printed by {os.getpid()}")


@op
def raise_error() -> None:
    raise RuntimeError("as it should")


@op(config_schema={"started": str, "go": str})
def wait_for_file(context: OpExecutionContext) -> None:
    """Says that it has begun, then waits to be let go."""
    Path(context.op_config["started"]).write_text(str(os.getpid()))
    while not Path(context.op_config["go"]).exists():
        time.sleep(0.02)


@op(config_schema={"started": str})
def ignore_interrupts(context: OpExecutionContext) -> None:
    """Stuck where no interrupt reaches it, like native code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    Path(context.op_config["started"]).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)


@op(config_schema={"code": int})
def exit_at_once(context: OpExecutionContext) -> None:
    os._exit(context.op_config["code"])


@op(config_schema={"tries": str}, ins={"after": In(Nothing)})
def die_the_first_time(context: OpExecutionContext) -> None:
    tries = Path(context.op_config["tries"])
    if not tries.exists():
        tries.write_text("1")
        os.kill(os.getpid(), signal.SIGKILL)


@job(executor_def=in_process_executor)
def succeeds() -> None:
    say_version()


@job(executor_def=in_process_executor)
def fails() -> None:
    raise_error()


@job(executor_def=in_process_executor)
def waits() -> None:
    wait_for_file()


@job(executor_def=in_process_executor)
def hangs() -> None:
    ignore_interrupts()


@job(executor_def=in_process_executor)
def exits() -> None:
    exit_at_once()


@job(executor_def=in_process_executor)
def dies_once() -> None:
    die_the_first_time(after=say_version())


@job(executor_def=multiprocess_executor)
def many_processes() -> None:
    say_version()


defs = Definitions(jobs=[succeeds, fails, waits, hangs, exits, dies_once, many_processes])
