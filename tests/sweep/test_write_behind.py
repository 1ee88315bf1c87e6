"""States that are written behind the loop's back: to a slow place, to a broken one, to none."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.pruners import Asha
from sweep.scheduling import write_behind
from sweep.scheduling.folders import Folder, LocalFolder, folder
from sweep.scheduling.states import States
from sweep.scheduling.write_behind import WriteBehind
from tests.sweep.fakes import Sweep
from trainer.state import State

PUT_SECONDS = 0.05


def at(epoch: int) -> State:
    return {"epoch": np.array(epoch), "parameters": np.full((2, 3), float(epoch))}


def epoch_of(state: State | None) -> int | None:
    return None if state is None else int(state["epoch"])


class Gated(LocalFolder):
    """A folder whose files are written once its gate is open, unless it is `broken`.

    The file of the name `stuck` waits for a gate of its own.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.broken = False
        self.stuck, self.loose = "", threading.Event()
        self.asked: list[str] = []

    @contextmanager
    def written(self, name: str) -> Iterator[Path]:
        self.asked.append(name)
        assert (self.loose if name == self.stuck else self.gate).wait(30)
        if self.broken:
            raise OSError("no room")
        with super().written(name) as path:
            yield path

    def opens_in(self, seconds: float) -> None:
        threading.Timer(seconds, self.gate.set).start()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Gated]:
    """A folder with its gate closed; no thread is left at its end."""
    before = threading.active_count()
    gated = Gated(tmp_path / "states")
    yield gated
    gated.gate.set()
    gated.loose.set()
    until = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < until, threading.enumerate()
        time.sleep(0.01)


Slow = Callable[[], Folder]


@pytest.fixture
def slow() -> Slow:
    """Makes the same folder at a URL of fsspec's where each file takes its time, for each call."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (extra storage)")
    from fsspec.implementations.memory import MemoryFileSystem

    class SlowMemory(MemoryFileSystem):  # type: ignore[misc]
        protocol = "slow"
        store: dict[str, Any] = {}  # noqa: RUF012 - as fsspec has it
        pseudo_dirs = [""]  # noqa: RUF012

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(super()._strip_protocol(path.removeprefix("slow://")))

        def put_file(self, *arguments: Any, **options: Any) -> None:
            time.sleep(PUT_SECONDS)
            super().put_file(*arguments, **options)

    fsspec.register_implementation("slow", SlowMemory, clobber=True)
    return lambda: folder("slow://bucket/states", "a-1")


def saving(states: WriteBehind, **options: Any) -> Sweep:
    """A sweep whose links take a second each, after which a state is to be saved."""
    sweep = Sweep(slots=20, pruner=Asha(3, 1), study={"checkpoint": {"seconds": 1}}, **options)
    sweep.loop.states = states
    sweep.runner.state = lambda number: at(sweep.search.trials[number].epoch)  # type: ignore[method-assign]
    return sweep


def test_a_slow_storage_does_not_hold_the_loop_up(slow: Slow) -> None:
    begun: list[int] = []

    class Counted(WriteBehind):
        def save(self, number: int, state: State) -> None:
            begun.append(number)
            super().save(number, state)

    started = time.perf_counter()
    with closing(Counted(States(slow()))) as states:
        saving(states, trials=60).run()
    seconds = time.perf_counter() - started
    assert len(begun) > 60
    assert seconds < len(begun) * PUT_SECONDS / 4
    assert slow().names() == []


def test_what_was_begun_is_there_when_the_driver_goes(slow: Slow) -> None:
    """The user has stopped the sweep, and does not wait for the trials that run."""
    saved: dict[int, int] = {}

    class Noted(WriteBehind):
        def save(self, number: int, state: State) -> None:
            saved[number] = int(state["epoch"])
            super().save(number, state)

    def interrupts(sweep: Sweep) -> int:
        return 2 if len(saved) >= 12 else 0

    with closing(Noted(States(slow()))) as states:
        sweep = saving(states, trials=60, interrupts=interrupts).run()
    left = {number for number in saved if number in sweep.of("left")}
    assert len(left) > 6
    again = States(slow())
    assert {number: epoch_of(again.load(number)) for number in left} == {
        number: saved[number] for number in left
    }
    assert len(slow().names()) == len(left)  # of each trial one alone


def test_the_last_state_is_written_and_what_waited_before_it_is_not(place: Gated) -> None:
    with closing(WriteBehind(States(place))) as states:
        states.save(7, at(1))
        while not place.asked:
            time.sleep(0.01)
        states.save(7, at(2))
        states.save(7, at(3))
        assert epoch_of(states.load(7)) == 3
        assert states.settled(0) == {}
        place.gate.set()
        assert states.settled(10) == {7: True}
        assert states.settled(0) == {}
        assert epoch_of(states.load(7)) == 3
    assert place.asked == ["00007-000001.npz", "00007-000003.npz"]
    assert place.names() == ["00007-000003.npz"]


def test_what_became_of_an_earlier_state_is_not_told_of_a_later_one(place: Gated) -> None:
    place.stuck = "00007-000002.npz"
    with closing(WriteBehind(States(place))) as states:
        states.save(7, at(1))
        while not place.asked:
            time.sleep(0.01)
        states.save(7, at(2))  # while the first is under way
        place.gate.set()
        assert states.settled(0.1) == {}
        place.loose.set()
        assert states.settled(10) == {7: True}
        place.loose.clear()
        states.save(8, at(1))
        states.save(7, at(3))
        while sorted(place.names()) != ["00007-000003.npz", "00008-000001.npz"]:
            time.sleep(0.01)
        time.sleep(0.05)  # both are written and not asked for
        place.stuck = "00007-000004.npz"
        states.save(7, at(4))
        assert states.settled(0.1) == {8: True}
        place.loose.set()
        assert states.settled(10) == {7: True}


def test_a_state_that_could_not_be_saved_leaves_the_one_before(
    place: Gated, capsys: pytest.CaptureFixture[str]
) -> None:
    place.gate.set()
    with closing(WriteBehind(States(place))) as states:
        states.save(7, at(1))
        assert states.settled(10) == {7: True}
        place.broken = True
        states.save(7, at(2))
        assert states.settled(10) == {7: False}
        assert epoch_of(states.load(7)) == 1
        states.save(7, at(2))
        assert states.settled(10) == {7: False}
        place.broken = False
        states.save(7, at(3))
    assert place.names() == ["00007-000003.npz"]
    assert capsys.readouterr().err.count("the state of trial 7 can't be saved: no room") == 1


def test_a_trial_that_is_forgotten_leaves_nothing_of_what_is_under_way(place: Gated) -> None:
    with closing(WriteBehind(States(place))) as states:
        states.save(7, at(1))
        states.save(8, at(1))
        while len(place.asked) < 2:
            time.sleep(0.01)
        states.forget(7)
        assert states.load(7) is None
        place.gate.set()
    assert place.names() == ["00008-000001.npz"]


def test_all_is_cleared_with_what_is_under_way(place: Gated) -> None:
    with closing(WriteBehind(States(place))) as states:
        for number in range(20):
            states.save(number, at(1))
        place.opens_in(0.2)
        states.clear()
        assert place.names() == []
        assert states.load(7) is None
        assert 0 < len(place.asked) <= write_behind.WRITERS  # those that waited were never begun
        states.save(7, at(2))
    assert place.names() == ["00007-000002.npz"]


def test_the_loop_waits_for_a_storage_when_too_much_waits(
    place: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(array.nbytes for array in at(1).values())
    monkeypatch.setattr(write_behind, "MOST_BYTES", 2 * size)
    with closing(WriteBehind(States(place))) as states:
        states.save(7, at(1))
        states.save(8, at(1))
        while len(place.asked) < 2:
            time.sleep(0.01)
        place.opens_in(0.2)
        states.save(9, at(1))
        assert place.gate.is_set()
        monkeypatch.setattr(write_behind, "MOST_BYTES", size // 2)
        states.save(9, at(2))  # one alone may be larger
    assert len(place.names()) == 3


def test_a_storage_that_takes_nothing_is_not_waited_for_longer(
    place: Gated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(write_behind, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(write_behind, "WRITERS", 1)
    states = WriteBehind(States(place))
    states.save(12, at(1))
    states.save(7, at(1))
    states.close()
    told = capsys.readouterr().err
    assert told == "storage: nothing was written in 0.2 s; not saved: trials 7, 12\n"


def test_a_mistake_in_a_thread_is_the_driver_s(place: Gated) -> None:
    place.gate.set()
    states = WriteBehind(States(place))
    states.save(7, {"epoch": np.array(1), "x": np.array([None])})
    with pytest.raises(TypeError, match="array x: must hold numbers"):
        states.settled(10)
    states.save(7, at(1))
    states.close()
    assert place.names() == ["00007-000001.npz"]


@pytest.mark.parametrize("seed", range(3))
def test_it_is_as_if_each_had_been_written_at_once(tmp_path: Path, seed: int) -> None:
    """Whatever is asked of it, and whenever the storage gets to it."""

    class Jittery(LocalFolder):
        @contextmanager
        def written(self, name: str) -> Iterator[Path]:
            time.sleep(random.random() * 0.003)  # noqa: S311 - no secret
            with super().written(name) as path:
                yield path

    chosen, expected = random.Random(seed), dict[int, int]()  # noqa: S311
    with closing(WriteBehind(States(Jittery(tmp_path)))) as states:
        for epoch in range(1, 300):
            number = chosen.randrange(12)
            what = chosen.choice(["save", "save", "save", "load", "forget", "clear", "settled"])
            if what == "save":
                states.save(number, at(epoch))
                expected[number] = epoch
            elif what == "load":
                assert epoch_of(states.load(number)) == expected.get(number)
            elif what == "forget":
                states.forget(number)
                expected.pop(number, None)
            elif what == "settled":
                assert all(states.settled(0.001).values())
            elif chosen.random() < 0.1:
                states.clear()
                expected.clear()
    names = sorted(f"{number:05}-{epoch:06}.npz" for number, epoch in expected.items())
    assert sorted(each.name for each in tmp_path.iterdir()) == names


KILLED = """
import sys, time
import numpy as np
from fsspec.implementations.local import LocalFileSystem
import fsspec
from sweep.scheduling.folders import folder
from sweep.scheduling.states import States
from sweep.scheduling.write_behind import WriteBehind

class Trickling(LocalFileSystem):
    protocol = "trickling"

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("trickling://"))

    def put_file(self, source, target, **options):
        with open(source, "rb") as ours, open(target, "wb") as theirs:
            while part := ours.read(4096):
                theirs.write(part)
                theirs.flush()
                time.sleep(0.001)

fsspec.register_implementation("trickling", Trickling)
states = WriteBehind(States(folder("trickling://" + sys.argv[1], "a")))
for epoch in range(1, 10_000):
    states.save(epoch % 3, {"epoch": np.array(epoch), "x": np.full(4096, float(epoch))})
    for number, kept in states.settled(0.03).items():
        assert kept
        print(number, int(states.load(number)["epoch"]), flush=True)
"""


def test_a_driver_that_is_killed_leaves_states_that_are_whole(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed (extra storage)")
    for wait in (0.0, 0.013, 0.037):
        where = tmp_path / str(wait)
        where.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(where)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(20)]
        time.sleep(wait)
        process.kill()
        rest, _ = process.communicate(timeout=30)
        told = [tuple(map(int, line.split())) for line in [*lines, *rest.splitlines()] if line]
        again = States(LocalFolder(where / "a"))
        for number in range(3):
            state = again.load(number)
            assert state is not None
            assert int(state["epoch"]) >= max(epoch for each, epoch in told if each == number)
            assert set(state["x"]) == {float(state["epoch"])}
        again.clear()
