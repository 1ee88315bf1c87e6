"""The variance that batch norm meets, measured and by the formula, from an outbox."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from sweep.answers.results import Results
from sweep.answers.shifts import FORMULA, MEASURED, shifts, table
from sweep.recording.outbox import Outbox
from sweep.recording.records import Epochs
from sweep.spec.study import check
from tests.sweep.test_comparisons import trial

NAN = float("nan")


def study(where: str) -> Any:
    dropout = {"rate": {"choose": [0.2, 0.5]}, "where": where}
    model = {"hidden": [4, 4], "batch_norm": "after", "dropout": dropout}
    return check({"name": "a", "model": model})


def test_the_last_epoch_of_those_that_drop_before_batch_norm(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    with closing(Outbox(path)) as out:
        for number, shift in enumerate((0.75, 0.5)):
            out.add(Epochs(number, 1, {f"{MEASURED}1": np.array([[9.0, 9.0]])}, 0))
            history = {
                f"{MEASURED}1": np.array([[9.0, 9.0], [shift, NAN]]),
                f"{MEASURED}2": np.array([[9.0, 9.0], [NAN, NAN]]),
                f"{FORMULA}1": np.array([[9.0, 9.0], [0.7, 0.8]]),
                f"{FORMULA}2": np.array([[9.0, 9.0], [0.6, 0.6]]),
                "val_accuracy": np.array([[0.5, 0.5], [0.5, 0.5]]),
            }
            out.add(Epochs(number, 2, history, 0))
        out.add(Epochs(2, 1, {f"{MEASURED}1": np.array([[1.0, 1.0]])}, 0))  # drops elsewhere
        out.add(Epochs(3, 1, {f"{FORMULA}1": np.array([[1.0, 1.0]])}, 0))
    trials = [trial(0, dropout=0.2), trial(1, dropout=0.5), trial(2, dropout=0.5)]
    trials.append(trial(3, "pruned", dropout=0.5))
    found = shifts(Results(study("before_bn"), "finished", trials, [], None), path)
    assert [each.trial.number for each in found] == [0, 1]
    assert found[0].ratios[1] == (0.75, 0.75)
    assert table(found, {"model.dropout": "dropout"}) == (
        ["trial", "dropout", "layer 1", "layer 2"],
        [["#0", "0.2", "0.75 / 0.75", "– / 0.60"], ["#1", "0.5", "0.50 / 0.75", "– / 0.60"]],
    )
    assert shifts(Results(study("all"), "finished", trials, [], None), path) == ()
    assert shifts(Results(study("before_bn"), "finished", trials, [], None), tmp_path / "b") == ()


def test_a_frozen_layer_has_no_ratio(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "outbox")) as out:
        for number, layers in enumerate(((1, 2), (2,))):
            ratios = {f"{name}{layer}": 0.5 for name in (MEASURED, FORMULA) for layer in layers}
            out.add(
                Epochs(number, 1, {name: np.array([[each]]) for name, each in ratios.items()}, 0)
            )
    results = Results(study("before_bn"), "finished", [trial(0), trial(1)], [], None)
    assert table(shifts(results, tmp_path / "outbox"), {})[1] == [
        ["#0", "0.50 / 0.50", "0.50 / 0.50"],
        ["#1", "–", "0.50 / 0.50"],
    ]
