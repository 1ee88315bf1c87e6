"""The estimate of what a study will take on disk, against what studies take."""

from pathlib import Path

import pytest

from sweep.datasets import Datasets
from sweep.recording.size import Size, size
from sweep.spec.study import Study, check
from sweep.spec.study_file import load
from tests.integration.conftest import SMOKE, Sweep


def estimated(sweep: Sweep) -> Size:
    study = check(load(sweep.workspace / "smoke" / "study.yaml"))
    return known(study)


def known(study: Study) -> Size:
    found = size(study, Datasets(study))
    assert found is not None
    return found


def taken(folder: Path, pattern: str = "*") -> int:
    return sum(each.stat().st_size for each in folder.rglob(pattern) if each.is_file())


def weights(sweep: Sweep) -> int:
    files = ("weights.npz", "winner.npz", "0*.npz")
    return sum(taken(sweep.workspace, name) for name in files)


def test_the_estimate_of_a_small_study(finished: Sweep) -> None:
    expected = estimated(finished)
    assert taken(finished.workspace) / 2 < expected.total < 2 * taken(finished.workspace)
    assert expected.weights == pytest.approx(weights(finished), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choices", "within"),
    [
        (("record.models=all", "model.hidden=[800, 400]", "model.batch_norm=after"), 0.1),
        (("record.weights=none", "record.models={best-k: {k: 3}}", "model.hidden=[800]"), 0.1),
        (("record.models=none", "model.hidden={choose: [[1000, 1000], [20]]}"), 0.5),
    ],
)
def test_the_estimate_of_others(sweep: Sweep, choices: tuple[str, ...], within: float) -> None:
    """Most of what they take are weights; with the last, it depends on which nets are drawn."""
    sweep("run", SMOKE, "--trials=12", *(f"--set={each}" for each in choices))
    expected, found = estimated(sweep), taken(sweep.workspace)
    assert found / 2 < expected.total < 2 * found
    assert expected.weights == pytest.approx(weights(sweep), rel=within)


def test_what_is_recorded_counts() -> None:
    def total(**record: object) -> Size:
        study = check(load(SMOKE) | {"record": record})
        return known(study)

    everything, nothing = total(models="all"), total(weights="none", models="none")
    few = total(weights={"best-k": {"k": 2}}, models={"best-k": {"k": 2}})
    assert everything.weights > few.weights > nothing.weights
    assert everything.models > few.models > nothing.models == 0
    assert everything.metrics == nothing.metrics


@pytest.mark.timeout(20)
def test_trials_that_only_a_budget_ends_are_estimated_at_once() -> None:
    endless = check(load(SMOKE) | {"search": {"trials": 10**12, "timeout": 60}})
    assert known(endless).metrics > 10**12


def test_looks_at_claims_count() -> None:
    def weights(looks: int) -> int:
        search = {"sampler": "grid", "looks": looks}
        model = {"hidden": [2000], "dropout": {"choose": [0.0, 0.2]}}
        space = {"model": model, "training": {"epochs": 3}}
        return known(check(load(SMOKE) | space | {"search": search})).weights

    # The looks' seeds are R, R and 2 R; beside the trials' files are the best five's, the winner's.
    assert weights(3) / weights(1) == pytest.approx((6 + 5 + 1) / (2 + 2 + 1) * 4 / 3, rel=0.01)
