"""States of trials in files: at a path, and at URLs of fsspec's."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.scheduling import states as states_module
from sweep.scheduling.folders import Folder, LocalFolder, RemoteFolder, folder, prove
from sweep.scheduling.states import States
from trainer.rules import ConfigError

STATE = {"epoch": np.array(3), "parameters": np.arange(6.0).reshape(2, 3)}


def at(epoch: int) -> dict[str, Any]:
    return {**STATE, "epoch": np.array(epoch)}


@pytest.fixture(params=["path", "memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder that does not exist yet."""
    if request.param == "path":
        return folder(str(tmp_path / "shared"), "a-1")
    pytest.importorskip("fsspec", reason="fsspec is not installed (extra storage)")
    base = {"memory": f"memory://{uuid.uuid4().hex}", "file": (tmp_path / "shared").as_uri()}
    return folder(base[request.param], "a-1")


def test_the_last_state_saved_is_the_one_that_is_loaded(place: Folder) -> None:
    states = States(place)
    assert states.load(7) is None
    assert states.save(7, at(1))
    assert states.save(7, STATE)
    assert states.save(12, at(2))
    again = States(place)
    found = again.load(7)
    assert found is not None
    assert set(found) == set(STATE)
    for name, array in STATE.items():
        np.testing.assert_array_equal(found[name], array)
    assert again.load(8) is None
    assert sorted(place.names()) == ["00007-000003.npz", "00012-000002.npz"]


def test_a_state_that_is_not_whole_is_told_and_the_one_before_it_stands(
    place: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if the driver had died while it wrote the second one."""
    states = States(place)
    states.save(7, at(1))
    with place.fetched("00007-000001.npz") as path:
        half = path.read_bytes()[:-20]
    with place.written("00007-000002.npz") as path:
        path.write_bytes(half)
    found = States(place).load(7)
    assert found is not None
    assert int(found["epoch"]) == 1
    assert "trial 7 can't go on from epoch 2" in capsys.readouterr().err
    place.remove("00007-000001.npz")
    assert States(place).load(7) is None
    assert States(place).save(7, at(2))  # it has been trained again
    assert States(place).load(7) is not None


def test_a_state_that_is_gone_is_told(place: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    states = States(place)
    states.save(7, at(2))
    place.remove("00007-000002.npz")
    assert states.load(7) is None
    assert "trial 7 can't go on from epoch 2" in capsys.readouterr().err


def test_a_state_that_can_t_be_read_for_a_moment_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(LocalFolder):
        times = 2

        @contextmanager
        def fetched(self, name: str) -> Iterator[Path]:
            self.times -= 1
            if self.times >= 0:
                raise OSError("reset by peer")
            with super().fetched(name) as path:
                yield path

    monkeypatch.setattr(states_module, "PAUSES", (0.0, 0.0))
    States(LocalFolder(tmp_path)).save(7, STATE)
    place = Failing(tmp_path)
    states = States(place)
    assert states.load(7) is not None
    place.times = 3
    with pytest.raises(OSError, match="reset by peer"):
        states.load(7)
    assert states.load(7) is not None


def test_a_later_state_than_the_one_that_is_saved_stays(place: Folder) -> None:
    """It could not be read when the trial went on; the next driver may be able to."""
    states = States(place)
    states.save(7, at(4))
    states.save(7, at(1))
    states.save(7, at(2))
    assert sorted(place.names()) == ["00007-000002.npz", "00007-000004.npz"]
    states.save(7, at(5))
    assert place.names() == ["00007-000005.npz"]


def test_a_forgotten_state_leaves_nothing(place: Folder) -> None:
    states = States(place)
    states.save(7, STATE)
    States(place).forget(7)  # another driver, which has only seen the file
    states.forget(8)
    assert place.names() == []
    states.save(9, STATE)
    states.clear()
    assert States(place).load(9) is None
    assert states.save(9, STATE)
    assert States(place).load(9) is not None


def test_a_state_that_can_t_be_saved_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    states = States(LocalFolder(tmp_path / "file"))
    assert not states.save(7, STATE)
    assert not states.save(7, STATE)
    assert capsys.readouterr().err.count("the state of trial 7 can't be saved") == 1


def test_a_path_needs_no_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    prove(str(tmp_path / "new"))
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(ConfigError, match=r"storage: needs a package .*extra `storage`"):
        prove("memory://x")


def test_a_storage_that_is_of_no_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"storage: cannot be written: .*, got .*file"):
        prove(str(tmp_path / "file"))
    pytest.importorskip("fsspec", reason="fsspec is not installed (extra storage)")
    with pytest.raises(ConfigError, match=r"storage: cannot be written"):
        prove((tmp_path / "file").as_uri())
    with pytest.raises(ConfigError, match=r"storage: must be a path or a URL that fsspec knows"):
        prove("nonsense://x")
    with pytest.raises(ConfigError, match=r"storage: cannot be reached: .*refused"):
        prove("ftp://127.0.0.1:1/states")


def test_a_url_of_fsspec_s_is_a_folder_of_its_own() -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed (extra storage)")
    base = f"memory://{uuid.uuid4().hex}/"
    prove(base)
    assert isinstance(folder(base, "a"), RemoteFolder)
    States(folder(base, "a")).save(1, STATE)
    assert States(folder(base, "b")).load(1) is None
