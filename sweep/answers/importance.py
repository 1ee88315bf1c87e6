"""How much each parameter matters: fANOVA (Hutter, Hoos and Leyton-Brown 2014), as Optuna has it.

A random forest is fitted to the trials, and the variance of its predictions is shared out among the
parameters. It runs on a copy of the trials in memory. A conditional parameter has no share of its
own: it is not part of every trial. (Optuna's default, PED-ANOVA, looks at the best tenth alone: of
40 trials with one setting that was worth 0.2 and noise of 0.01 it named another.)
"""

import warnings

import optuna

from sweep.answers.evidence import Evidence
from sweep.search.samplers import distribution

FEWEST = 10
"""With fewer trials the shares say nothing."""


def importances(evidence: Evidence) -> dict[str, float]:
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it is experimental
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return dict(optuna.importance.get_param_importances(mirror, evaluator=evaluator))
