"""States of trials in files."""

from pathlib import Path

import numpy as np

from sweep.scheduling.states import States

STATE = {"epoch": np.array(3), "parameters": np.arange(6.0).reshape(2, 3)}


def test_the_last_state_saved_is_the_one_that_is_loaded(tmp_path: Path) -> None:
    states = States(tmp_path / "states")
    assert states.load(7) is None
    states.save(7, {**STATE, "epoch": np.array(1)})
    states.save(7, STATE)
    found = States(tmp_path / "states").load(7)
    assert found is not None
    assert set(found) == set(STATE)
    for name, array in STATE.items():
        np.testing.assert_array_equal(found[name], array)
    assert states.load(8) is None


def test_a_state_that_is_not_whole_is_none(tmp_path: Path) -> None:
    states = States(tmp_path)
    states.save(7, STATE)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    assert states.load(7) is None


def test_a_forgotten_state_leaves_nothing(tmp_path: Path) -> None:
    states = States(tmp_path)
    states.save(7, STATE)
    states.forget(7)
    states.forget(8)
    assert list(tmp_path.iterdir()) == []
