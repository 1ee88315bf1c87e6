"""The first paragraph of a report: who is the best, and how sure that is."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from sweep.answers.answer import answer
from sweep.answers.results import Results
from sweep.spec.study import check
from tests.sweep.test_comparisons import trial

BEST, NEXT = (0.95, 0.93, 0.96, 0.94, 0.95), (0.93, 0.92, 0.93, 0.94, 0.91)


def ends(**data: Any) -> tuple[float, float]:
    """The interval of the best trial's lead in the answer of a study with these data."""
    study = check({"name": "a", "data": data, "replicates": 5})
    trials = [
        replace(trial(number), values=list(values), value=mean, scores=[mean])
        for number, values in enumerate((BEST, NEXT))
        for mean in [float(np.mean(values))]
    ]
    found = re.search(
        r"difference (\S+) … (\S+),", answer(Results(study, "finished", trials, [], None))
    )
    assert found is not None
    return float(found[1]), float(found[2])


def test_the_lead_has_the_interval_of_a_paired_t_test() -> None:
    assert ends() == pytest.approx(tuple(ttest_rel(BEST, NEXT).confidence_interval()), rel=1e-3)


def test_folds_overlap_so_the_lead_is_less_certain() -> None:
    """By sqrt((1/R + 1/(k - 1)) / (1/R)), Nadeau and Bengio (2003)."""
    (low, high), (low_folds, high_folds) = ends(), ends(folds=5)
    assert low_folds + high_folds == pytest.approx(low + high, rel=1e-2)
    assert (high_folds - low_folds) / (high - low) == pytest.approx(1.5, rel=1e-2)
