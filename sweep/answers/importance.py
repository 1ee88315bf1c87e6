"""How much each parameter matters: fANOVA (Hutter, Hoos and Leyton-Brown 2014), as Optuna has it.

A random forest is fitted to the trials, and the variance of its predictions is shared out among the
parameters; what they do together has the rest. It runs on a copy of the trials in memory. A
conditional parameter has no share of its own: it is not part of every trial. (Optuna's default,
PED-ANOVA, looks at the best tenth alone: of 40 trials with one setting that was worth 0.2 and noise
of 0.01 it named another.)

Each tree of a random forest is fitted to as many trials, drawn anew with replacement (Breiman
2001). So the trees are bootstrap replicates of a forest of one tree, and the middle 95 % of their
shares is a percentile interval (Efron 1979), wider than one for the mean of the trees would be.
"""

import warnings
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import optuna

from sweep.answers.evidence import Evidence
from sweep.search.samplers import distribution

FEWEST = 10
"""With fewer trials the shares say nothing."""

TREES = 64
"""As many as a forest has by default in Optuna."""


class Share(NamedTuple):
    """A share of the variance: the mean over the trees, and the middle 95 % of them."""

    mean: float
    low: float
    high: float


def importances(evidence: Evidence) -> dict[str, Share]:
    """The share of each parameter that every trial has, largest first; empty with few trials."""
    compared = evidence.compared
    values = {each.common for each in compared}
    if len(compared) < FEWEST or len(values) < 2:
        return {}
    study = evidence.results.study
    space = {each.name: distribution(each) for each in study.parameters()}
    mirror = optuna.create_study(direction="maximize" if study.maximize else "minimize")
    for trial in compared:
        mirror.add_trial(
            optuna.trial.create_trial(
                params=trial.params,
                distributions={name: space[name] for name in trial.params},
                value=trial.common,
            )
        )
    found: dict[str, list[float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it is experimental
        for seed in range(TREES):
            tree = optuna.importance.FanovaImportanceEvaluator(n_trees=1, seed=seed)
            with suppress(RuntimeError):  # it has drawn trials that are all the same
                for name, share in tree.evaluate(mirror).items():
                    found.setdefault(name, []).append(share)
    shares = {
        name: Share(float(np.mean(each)), *np.quantile(each, (0.025, 0.975)).tolist())
        for name, each in found.items()
    }
    return dict(sorted(shares.items(), key=lambda each: -each[1].mean))
