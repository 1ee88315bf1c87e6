"""What users ask of a sweep that is running."""

import os
import signal
from pathlib import Path

import pytest

from sweep.wishes import Wishes


def test_wishes_from_another_terminal_are_heard_once(tmp_path: Path) -> None:
    driver, user = Wishes(tmp_path / "wishes"), Wishes(tmp_path / "wishes")
    with driver.heard():
        assert driver.interrupts() == 0
        user.stop()
        user.stop(17)
        user.stop(3)
        assert driver.interrupts() == 1
        assert sorted(driver.trials()) == [3, 17]
        assert driver.trials() == []
        user.stop()
        assert driver.interrupts() == 2


def test_ctrl_c_is_counted_while_the_sweep_runs_and_raises_after_it(tmp_path: Path) -> None:
    wishes = Wishes(tmp_path)
    # A shell starts background jobs, CI's among them, with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with wishes.heard():
            os.kill(os.getpid(), signal.SIGINT)
            assert wishes.interrupts() == 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_wish_for_an_earlier_run_is_forgotten(tmp_path: Path) -> None:
    Wishes(tmp_path).stop()
    Wishes(tmp_path).stop(4)
    wishes = Wishes(tmp_path)
    with wishes.heard():
        assert wishes.interrupts() == 0
        assert wishes.trials() == []


def test_ctrl_c_raises_where_nothing_would_be_lost(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        wishes = Wishes(tmp_path)
        with wishes.heard():
            with pytest.raises(KeyboardInterrupt), wishes.at_once():
                os.kill(os.getpid(), signal.SIGINT)
            assert wishes.interrupts() == 1
            with pytest.raises(KeyboardInterrupt), wishes.at_once():  # it had come before
                pytest.fail("nothing is begun any more")
            os.kill(os.getpid(), signal.SIGINT)
            assert wishes.interrupts() == 2
    finally:
        signal.signal(signal.SIGINT, before)
