import io
import re
import sys
from dataclasses import replace
from typing import Any

import pytest

from sweep.scheduling import progress as module
from sweep.scheduling.ports import Standing
from sweep.scheduling.progress import PLAIN_SECONDS, ended, line, progress
from sweep.search.trial import State, Trial


def standing(**fields: Any) -> Standing:
    counts = dict.fromkeys(State, 0) | fields.pop("counts", {})
    return Standing(**{"target": 60, "counts": counts, **fields})


HALFWAY = standing(
    counts={State.COMPLETE: 10, State.PRUNED: 14, State.FAILED: 1, State.STOPPED: 2},
    fresh=20,
    running=3,
    best=Trial(17, {}, {}, values=[0.97, 0.98]),
)


def test_trials_that_were_stopped_have_not_ended() -> None:
    assert ended(HALFWAY) == 25


def test_a_record_that_is_behind_is_told() -> None:
    late = replace(HALFWAY, unrecorded="MLflow is 700 records behind: refused")
    assert line(late, "val_accuracy", 10.0).endswith(" · MLflow is 700 records behind: refused")


def test_the_line_of_a_sweep_under_way() -> None:
    assert line(HALFWAY, "val_accuracy", 10.0).split(" · ") == [
        "25/60 trials",
        "3 running",
        "14 pruned",
        "1 failed",
        "best val_accuracy 0.9750 (#17)",
        "2.0 trials/s",
        "18 s left",  # 35 trials at two a second
    ]


def test_the_line_of_a_sweep_that_begins() -> None:
    assert line(standing(running=2), "val_loss", 0.0) == (
        "0/60 trials · 2 running · 0 pruned · 0 failed · 0.0 trials/s · … left"
    )


def test_a_best_value_has_digits_that_say_something() -> None:
    fast = standing(best=Trial(1, {}, {}, values=[2.5e-6]))
    assert "best predict_seconds 2.5e-06 (#1)" in line(fast, "predict_seconds", 1.0)
    small = standing(best=Trial(1, {}, {}, values=[13130.0]))
    assert "best parameters 13130 (#1)" in line(small, "parameters", 1.0)


def test_a_resumed_sweep_counts_its_own_trials_for_the_rate() -> None:
    text = line(standing(counts={State.COMPLETE: 50}, fresh=5, running=1), "val_loss", 10.0)
    assert "0.5 trials/s · 20 s left" in text


def test_the_line_of_a_sweep_that_has_ended() -> None:
    text = line(standing(counts={State.COMPLETE: 60}, fresh=60), "val_loss", 30.0)
    assert text.endswith("2.0 trials/s · 30 s")
    assert "left" not in text
    out_of_time = line(standing(counts={State.COMPLETE: 20}, fresh=20), "val_loss", 10.0)
    assert out_of_time.endswith("2.0 trials/s · 10 s")


def test_lost_links_are_told() -> None:
    assert "lost" not in line(HALFWAY, "val_loss", 1.0)
    assert "2 links lost and trained again" in line(standing(lost=2), "val_loss", 1.0)


def test_an_interrupted_sweep_says_how_to_stop_at_once() -> None:
    text = line(standing(stopping=True, running=1), "val_loss", 1.0)
    assert text.endswith("stopping: running trials finish (Ctrl-C again to stop at once)")


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


def test_plain_lines_come_at_intervals_and_once_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("val_accuracy", quiet=False) as watch:
        for _ in range(int(2.5 * PLAIN_SECONDS) * 10):
            clock.now += 0.1
            watch(standing(running=2, fresh=1))
        clock.now += 0.1
        watch(standing(counts={State.COMPLETE: 60}, fresh=60))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [text.split(" ")[0] for text in lines] == ["0/60", "0/60", "60/60"]
    assert lines[-1].endswith(f"{2.5 * PLAIN_SECONDS:.0f} s")
    assert "\x1b" not in err


def test_a_quiet_sweep_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("val_accuracy", quiet=True) as watch:
        watch(HALFWAY)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_live_bar_above_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    with progress("val_accuracy", quiet=False) as watch:
        watch(HALFWAY)
        watch(standing(counts={State.COMPLETE: 60}, fresh=60))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"━{24}\s+60/60 trials", shown)
    assert terminal.getvalue().endswith("\x1b[?25h")  # the cursor is there again
