"""The answer of a study in two sentences, and what it cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweep.answers.claims import Finding
from sweep.answers.intervals import ERROR, interval
from sweep.answers.results import Results, TrialResult
from sweep.answers.summary import spread
from sweep.figures import SCORES
from sweep.spec.claims import shown


@dataclass(frozen=True)
class Cost:
    """What the trials took of the workers, in seconds.

    Attributes:
        spent: all of it.
        epochs: in epochs, of training and validation: what is beyond them went into pretraining,
            and into taking data and states up and giving them back.
        saved: about what the epochs would have taken that pruned trials were not trained for, each
            as long as those of the last link.
    """

    spent: float
    epochs: float
    saved: float


def answer(results: Results, claims: Sequence[Finding] = ()) -> str:
    """What was found, and how sure it is: about its claims, if any, and the best trial."""
    ranked = results.ranked()
    if not ranked:
        return "No trial has completed, so there is no answer."
    best = ranked[0]
    study = results.study
    settings = ", ".join(f"{name} {_shown(value)}" for name, value in best.params.items())
    test = results.test
    score = SCORES[study.score]
    tested = f", and {spread(test['values'])} {score} on the test split" if test else ""
    first = (
        f"Of {len(results.trials)} trials #{best.number} is the best: {study.metric} "
        f"{spread(best.values)} (mean ± sd, {len(best.values)} replicates){tested}, with "
        f"{settings or 'the one configuration there is'}."
    )
    if len(study.objectives) > 1:
        first = f"{_front(results)} {first}"
    elif not claims:
        folds = study.data.folds
        first = f"{first} {_margin(best, ranked[1:], 1 / (folds - 1) if folds else 0.0)}"
    return f"{_verdicts(claims)} {first}" if claims else first


def _front(results: Results) -> str:
    """Who is on the Pareto front, in words."""
    front = results.front()
    metrics = ", ".join(each.name for each in results.study.objectives)
    numbers = ", ".join(f"#{each.number}" for each in front)
    return f"On the Pareto front of {metrics}: {numbers}."


def _verdicts(claims: Sequence[Finding]) -> str:
    """Which claims are decided, and how."""
    decided = []
    for verdict in ("supported", "refuted"):
        names = [each.name for each in claims if each.verdict == verdict]
        if names:
            decided.append(f"{len(names)} {verdict} ({', '.join(names)})")
    undecided = sum(each.verdict == "undecided" for each in claims)
    if not decided:
        return f"Nothing was decided: all claims ({undecided}) are open."
    return f"Of {len(claims)} claims {', '.join([*decided, f'{undecided} undecided'])}."


def _margin(best: TrialResult, others: Sequence[TrialResult], overlap: float) -> str:
    """How far the runner-up is behind, seed by seed: trials share their random streams.

    `overlap` is that of folds, see `interval`.
    """
    if not others:
        return "No other trial completed, so nothing can be said about its lead."
    second = others[0]
    pairs = [
        (a, b)
        for a, b in zip(best.values, second.values, strict=False)
        if a is not None and b is not None
    ]
    behind = f"The next, #{second.number}, is {abs((best.value or 0) - (second.value or 0)):.4g}"
    if len(pairs) < 2:
        return f"{behind} away; with one replicate its error is unknown."
    differences = np.array([first - next_one for first, next_one in pairs])
    _, low, high = interval(differences, error=ERROR, overlap=overlap)
    apart = "are" if low > 0 or high < 0 else "are not"
    return (
        f"{behind} away; the two {apart} told apart by these seeds (95 % interval of the paired "
        f"difference {low:.4g} … {high:.4g}, not corrected for the choice among many trials)."
    )


def cost(results: Results) -> Cost:
    """What was spent, and what pruning saved."""
    spent = epochs = saved = 0.0
    for trial in results.trials:
        spent += trial.worker_seconds
        epochs += sum(trial.timings.get(name, 0.0) for name in ("training", "validation"))
        if trial.state == "pruned":
            seconds = trial.metrics.get("epoch_seconds", [])
            an_epoch = sum(each for each in seconds if each is not None)  # of all replicates
            saved += an_epoch * max(0, _budget(results, trial.params) - trial.epoch)
    return Cost(spent, epochs, saved)


def _budget(results: Results, params: Mapping[str, Any]) -> int:
    return int(results.study.config(params)["training"]["epochs"])


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else shown(value)
