"""The files of the best trials, whatever the order in which they end."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.recording.kept import Kept, count
from sweep.spec.study import Study
from trainer import checkpoint

VALUES = {0: 0.5, 1: 0.9, 2: 0.7, 3: 0.9, 4: 0.1}


def weights(folder: Path, number: int, value: float) -> Path:
    path = folder / f"trial-{number}.npz"
    checkpoint.save(path, {"x": np.full(2, number)}, {"trial": number, "value": value})
    return path


@pytest.mark.parametrize(("maximize", "best"), [(True, [1, 3, 2]), (False, [4, 0, 2])])
def test_the_best_stay_in_any_order(tmp_path: Path, maximize: bool, best: list[int]) -> None:
    files = {number: weights(tmp_path, number, value) for number, value in VALUES.items()}
    for turn, order in enumerate(itertools.permutations(VALUES)):
        if turn % 7:
            continue
        folder = tmp_path / f"kept-{turn}"
        kept = Kept(folder, 3, maximize=maximize)
        for number in order:
            if kept.wants(number, VALUES[number]):
                kept.take(number, VALUES[number], files[number])
            kept = Kept(folder, 3, maximize=maximize)  # as after a crash
        assert kept.numbers() == best
        assert sorted(each.name for each in folder.iterdir()) == sorted(
            f"{number:05}.npz" for number in best
        )


def test_a_trial_that_is_trained_again_is_kept_once(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept", 1, maximize=True)
    file = weights(tmp_path, 0, 0.5)
    for _ in range(2):
        assert kept.wants(0, 0.5)
        kept.take(0, 0.5, file)
    assert kept.numbers() == [0]
    assert not kept.wants(1, 0.5)
    assert kept.wants(1, 0.6)


def test_nothing_is_kept_where_nothing_is_asked_for(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept", 0, maximize=True)
    assert not kept.wants(0, 0.5)
    assert kept.numbers() == []


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        ({}, 5),
        ({"weights": "none"}, 0),
        ({"weights": "none", "models": "all"}, 5),
        ({"weights": {"best-k": {"k": 2}}}, 2),
        ({"weights": {"best-k": {"k": 2}}, "models": {"best-k": {"k": 3}}}, 3),
        ({"weights": "all", "models": {"best-k": {"k": 9}}}, 9),
    ],
)
def test_how_many_are_kept(make_study: Callable[..., Study], record: Any, kept: int) -> None:
    assert count(make_study(record=record).record) == kept
