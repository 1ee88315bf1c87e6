"""While trials train, pictures take a twentieth of the time; then they take all of it."""

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.recording import recorder
from sweep.recording.recorder import Recorder

SECONDS = 0.1
"""What a picture takes."""


class Clock:
    """Time passes when pictures are drawn and when the recorder waits."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(recorder, "time", clock)
    return clock


@pytest.fixture
def drawing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A recorder with pictures to draw and no data to send."""
    pictures = deque(SimpleNamespace(record=SimpleNamespace(trial=n)) for n in range(10_000))

    class Sender:
        def __init__(self, *_given: Any) -> None:
            pass

        def draw(self, entry: Any) -> None:
            clock.now += SECONDS
            pictures.popleft()

    class Outbox:
        def pending(self, limit: int, *, late: bool = False) -> list[Any]:
            return list(pictures)[:1] if late else []

    monkeypatch.setattr("sweep.recording.sender.Sender", Sender)
    monkeypatch.setattr("sweep.recording.tracking.connect", lambda uri: None)
    return Recorder(Outbox(), Path(), "sqlite:///none.db", None)  # type: ignore[arg-type]


def drawn_in(seconds: float, found: Recorder, clock: Clock, *, draining: bool) -> int:
    count, end = 0, clock.now + seconds
    while clock.now < end:
        if found.step(draining=draining):
            count += 1
        else:
            clock.now += recorder.POLL_SECONDS
    return count


def test_a_twentieth_of_the_time(drawing: Recorder, clock: Clock) -> None:
    assert drawn_in(100, drawing, clock, draining=False) == pytest.approx(50, abs=3)


def test_all_of_the_time_at_the_end(drawing: Recorder, clock: Clock) -> None:
    drawing.step(draining=False)
    assert drawn_in(10, drawing, clock, draining=True) == pytest.approx(100, abs=1)
