"""What signals mean while something is trained."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from compmod.pretrain.runtime.exit_status import BY_HAND, INTERRUPTED
from compmod.pretrain.training import interruption
from compmod.pretrain.training.interruption import Interrupted, stop_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2])
def test_a_signal_asks_to_stop_at_the_next_step(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_signals() as stop:
        signal.raise_signal(number)
        assert stop.signal_name == number.name
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with stop_signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_interrupts_a_step_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "PATIENCE_S", 0.05)
    with stop_signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            time.sleep(10)


def test_what_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.signal_name == ""
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_leaves_with_the_status_of_shells_and_schedulers_with_their_own() -> None:
    assert (Interrupted("SIGINT", Path("x")).code, Interrupted("SIGTERM", Path("x")).code) == (BY_HAND, INTERRUPTED)
