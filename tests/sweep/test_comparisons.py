"""The learning curves of the groups that claims compare, from an outbox."""

import itertools
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sweep.answers.claims import findings
from sweep.answers.comparisons import comparisons
from sweep.answers.results import Results, TrialResult
from sweep.recording.outbox import Outbox
from sweep.recording.records import Epochs
from sweep.spec.study import Study, check

CLAIM = {"name": "a", "compare": {"model.batch_norm": ["after", "none"]}, "expect": "after > none"}
MODEL = {
    "batch_norm": {"choose": ["none", "after"]},
    "activation": {"choose": ["relu", "tanh"]},
}
NAN = float("nan")


def made(*claims: dict[str, Any], **fields: Any) -> Study:
    search = {"sampler": "factorial"} | fields.pop("search", {})
    values = {"name": "a", "model": MODEL, "claims": list(claims), "search": search}
    return check(values | {"replicates": 2} | fields)


def trial(number: int, state: str = "complete", **params: Any) -> TrialResult:
    named = {f"model.{name}": value for name, value in params.items()}
    empty: dict[str, Any] = {
        "seconds": None,
        "mlflow_run_id": None,
        "environment": {},
        "scores": [],
    }
    return TrialResult(
        number, state, None, named, 0.0, [], 3, metrics={}, diagnosis=[], violated=[], **empty
    )


def outbox(path: Path, links: Sequence[tuple[int, int, Any]]) -> Path:
    with closing(Outbox(path)) as out:
        for number, first, values in links:
            accuracy: NDArray[np.float64] = np.array(values, dtype=np.float64)
            out.add(Epochs(number, first, {"val_accuracy": accuracy}, 0))
    return path


def test_a_group_is_the_mean_over_its_trials_with_replicates_as_its_spread(tmp_path: Path) -> None:
    trials = [
        trial(0, batch_norm="none", activation="relu"),
        trial(1, batch_norm="after", activation="relu"),
        trial(2, batch_norm="after", activation="tanh"),
        trial(3, "pruned", batch_norm="none", activation="tanh"),
    ]
    links = [
        (0, 1, [[0.1, 0.3], [0.2, 0.4]]),
        (1, 1, [[0.5, 0.5]]),
        (1, 2, [[0.6, 0.8], [0.7, 0.9]]),
        (2, 1, [[0.7, 0.7], [0.8, 1.0]]),
        (3, 1, [[0.0, 0.0]]),
    ]
    where = CLAIM | {"name": "b", "where": {"model.activation": "relu"}}
    results = Results(made(CLAIM, where), "finished", trials, [], None)
    whole, held = comparisons(results, outbox(tmp_path / "outbox", links), findings(results))
    after, none = whole.groups
    assert (after.label, after.trials, none.label, none.trials) == ("after", 2, "none", 1)
    assert after.mean == pytest.approx([0.6, 0.8])  # as long as the shorter of the two
    assert after.sd == pytest.approx([0.0, np.std([0.7, 0.9], ddof=1)])
    assert none.mean == pytest.approx([0.2, 0.3])
    assert held.groups[0].mean == pytest.approx([0.5, 0.7, 0.8])


def test_a_replicate_that_stopped_keeps_its_last_value(tmp_path: Path) -> None:
    trials = [trial(n, batch_norm=norm) for n, norm in enumerate(("none", "after"))]
    links = [(0, 1, [[0.1, 0.3], [NAN, 0.5]]), (1, 1, [[0.0, 0.0]])]
    results = Results(made(CLAIM), "finished", trials, [], None)
    (it,) = comparisons(results, outbox(tmp_path / "outbox", links), findings(results))
    assert it.groups[1].mean == pytest.approx([0.2, 0.3])


def test_an_option_at_its_best_value_is_drawn_at_that_value_alone(tmp_path: Path) -> None:
    rates = {"learning_rate": {"choose": [0.1, 0.2]}}
    claim = CLAIM | {"best_over": "training.learning_rate"}
    study = made(
        claim, model={"batch_norm": {"choose": ["none", "after"]}}, training=rates, replicates=3
    )
    trials, links = [], []
    for number, (norm, rate) in enumerate(itertools.product(("none", "after"), (0.1, 0.2))):
        value = abs(rate - 0.1) if norm == "none" else abs(rate - 0.2)
        params = {"model.batch_norm": norm, "training.learning_rate": rate}
        each = trial(number, batch_norm=norm)
        trials.append(replace(each, params=params, metrics={"val_accuracy": [1 - value] * 3}))
        links.append((number, 1, [[1 - value] * 3]))
    results = Results(study, "finished", trials, [], None)
    (it,) = comparisons(results, outbox(tmp_path / "outbox", links), findings(results))
    assert [(each.label, each.trials) for each in it.groups] == [
        ("after at 0.2", 1),
        ("none at 0.1", 1),
    ]
    assert [each.mean.tolist() for each in it.groups] == [[1.0], [1.0]]


def test_looks_add_replicates(tmp_path: Path) -> None:
    study = made(CLAIM, search={"looks": 2}, model={"batch_norm": {"choose": ["none", "after"]}})
    norms = ("none", "after", "none", "after")
    trials = [trial(number, batch_norm=norm) for number, norm in enumerate(norms)]
    links = [(n, 1, [[0.1 * n, 0.1 * n]]) for n in range(4)]
    results = Results(study, "finished", trials, [], None)
    (it,) = comparisons(results, outbox(tmp_path / "outbox", links), findings(results))
    assert it.groups[1].mean == pytest.approx([0.1])
    assert it.groups[1].sd == pytest.approx([np.std([0, 0, 0.2, 0.2], ddof=1)])


def test_what_is_not_measured_by_epoch_or_has_one_side_has_no_curves(tmp_path: Path) -> None:
    trials = [trial(0, batch_norm="none")]
    path = outbox(tmp_path / "outbox", [(0, 1, [[0.1, 0.3]])])
    for study, known in ((CLAIM | {"by": "parameters"}, trials), (CLAIM, trials), (CLAIM, [])):
        results = Results(made(study), "finished", known, [], None)
        assert comparisons(results, path, findings(results)) == ()
    assert comparisons(results, tmp_path / "none", findings(results)) == ()
