"""What trained nets confuse agrees with their accuracy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import model
from sweep.answers.confusion import confusion, predicted, records
from sweep.datasets import Datasets
from sweep.recording.confusion_matrix import draw
from sweep.scheduling.runner import Advanced, Link, advance
from sweep.spec.study import Study
from trainer import checkpoint


@pytest.mark.parametrize("fields", [{"replicates": 2}, {"data": {"folds": 3}, "replicates": 3}])
def test_the_diagonal_is_the_accuracy(
    make_study: Callable[..., Study], tmp_path: Path, fields: dict[str, Any]
) -> None:
    study = make_study(**fields, model={"hidden": [16]}, training={"epochs": 2})
    datasets, plain = Datasets(study), study.first_config()
    splits = datasets.splits(plain)
    link = Link(7, plain, 2, study.search.seed, study.replicates)
    outcome, state = advance(link, splits.data, None)
    assert isinstance(outcome, Advanced)
    assert state is not None
    arrays = model.arrays(datasets.trainers.learnt(plain, state), splits.preprocessing)
    counts = confusion(predicted(plain, arrays, datasets), splits.data)
    rows = [len(splits.data.fold(each).y_val) for each in range(study.replicates)]
    assert counts.sum() == sum(rows)
    right = np.dot(outcome.metrics["val_accuracy"], rows)
    assert np.trace(counts) == pytest.approx(right)

    checkpoint.save(tmp_path / "7.npz", arrays, {"trial": 7, "config": plain})
    (record,) = records({7: tmp_path / "7.npz", 8: tmp_path / "gone.npz"}, datasets, 0)
    assert (record.trial, record.replicates) == (7, study.replicates)
    assert record.counts == counts.tolist()
    draw(record, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")
