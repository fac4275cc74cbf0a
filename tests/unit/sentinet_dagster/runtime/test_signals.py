"""The first signal interrupts, the next ones do not disturb the clean-up, and the handlers come back."""

from __future__ import annotations

import os
import signal

import pytest

from sentinet_dagster.runtime.signals import interrupted_once

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_and_clean_up(number: signal.Signals, cleaned_up: list[bool]) -> None:
    """Send `number` to ourselves, and every signal again while cleaning up."""
    try:
        os.kill(os.getpid(), number)
        signal.pause()
    finally:
        for other in NUMBERS:
            os.kill(os.getpid(), other)
        cleaned_up.append(True)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_interrupts_once(number: signal.Signals) -> None:
    before = {known: signal.getsignal(known) for known in NUMBERS}
    cleaned_up: list[bool] = []
    with pytest.raises(KeyboardInterrupt), interrupted_once():
        interrupt_and_clean_up(number, cleaned_up)
    assert cleaned_up == [True]
    assert {known: signal.getsignal(known) for known in NUMBERS} == before
