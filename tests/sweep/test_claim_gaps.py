"""Claims on trials that diverged."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sweep.answers import claims_table
from sweep.answers.intervals import interval
from sweep.answers.results import Results
from tests.sweep.designs import CLAIM, designed, found, noise, ran, trial


def diverged_at(results: Results, option: str, gone: int) -> None:
    """Of each trial with an option `gone` replicates diverge, which cuts the others short."""
    for number, each in enumerate(results.trials):
        if each.params["model.batch_norm"] != option:
            continue
        count = len(each.values)
        ended = trial(number, each.params, [0.1] * gone + [0.5] * (count - gone), state="pruned")
        losses: list[float | None] = [*[None] * gone, *[2.0] * (count - gone)]
        metrics = ended.metrics | {"val_loss": losses, "train_loss": losses}
        results.trials[number] = replace(ended, reason="diverged at epoch 3", metrics=metrics)


def near(params: Mapping[str, Any], replicate: int) -> float:
    return 0.9 + 0.01 * noise(params, replicate)


def test_a_trial_in_which_every_replicate_diverged_counts_as_guessing() -> None:
    results = ran(designed(), near)
    diverged_at(results, "before", 6)
    it = found(results)
    assert (it.verdict, it.diverged) == ("supported", 4)
    assert it.effect == pytest.approx(0.8, abs=0.02)
    assert "In a trial that diverged (up to 4 a claim)" in claims_table.note([it])
    by_loss = found(replace(results, study=designed(CLAIM | {"by": "val_loss"})))
    assert by_loss.verdict == "undecided"
    assert "diverged at epoch 3, and a loss has no mean" in (by_loss.reason or "")


def test_what_cut_replicates_would_have_come_to_is_left_open() -> None:
    """The interval covers every filling of the gaps, so it decides only what none of them turns."""
    results = ran(designed(), near)
    diverged_at(results, "before", 2)
    it = found(results)
    assert it.low is not None
    assert it.high is not None
    assert it.verdict == "undecided"
    assert it.more_replicates is None
    for filled in (0.0, 0.5, 1.0):
        sides = {
            option: [
                [0.1, 0.1, *[filled] * 4] if option == "before" else each.values
                for each in results.trials
                if each.params["model.batch_norm"] == option
            ]
            for option in ("after", "before")
        }
        means = {option: np.array(rows, float).mean(axis=0) for option, rows in sides.items()}
        known = interval(means["after"] - means["before"], error=0.04)
        assert it.low - 1e-9 <= known.low
        assert it.high + 1e-9 >= known.high
    far = found(replace(results, study=designed(CLAIM | {"margin": 2.0})))
    assert far.verdict == "refuted"  # whatever the gaps held
