"""Studies with claims, and trials of them whose values are known."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from sweep.answers.claims import Finding, findings
from sweep.answers.results import Results, TrialResult, finite
from sweep.search.samplers import make
from sweep.spec.study import Study, check

MODEL: dict[str, Any] = {
    "activation": {"choose": ["relu", "tanh", {"elu": {"alpha": {"choose": [0.5, 1.0]}}}]},
    "batch_norm": {"choose": ["none", "before", "after"]},
}
CLAIM: dict[str, Any] = {
    "name": "after-beats-before",
    "compare": {"model.batch_norm": ["after", "before"]},
    "expect": "after > before",
}

Value = Callable[[Mapping[str, Any], int], float]
"""The value of a configuration in a replicate."""


def designed(*claims: Any, replicates: int = 6, **fields: Any) -> Study:
    search = {"sampler": "factorial", "trials": 100} | fields.pop("search", {})
    return check(
        {
            "name": "a",
            "model": MODEL,
            "claims": list(claims) or [CLAIM],
            "replicates": replicates,
            "search": search,
            **fields,
        }
    )


def trial(number: int, params: dict[str, Any], values: list[float], **more: Any) -> TrialResult:
    known = [finite(each) for each in values]
    given: dict[str, Any] = {
        "state": "complete",
        "reason": None,
        "violated": [],
        "parent": None,
    } | more
    mean = finite(sum(values) / len(values))
    return TrialResult(
        number=number,
        params=params,
        value=mean,
        scores=[mean],
        values=known,
        epoch=27,
        seconds=1.0,
        mlflow_run_id=None,
        metrics={"val_accuracy": known, "val_loss": [None if x is None else -x for x in known]},
        environment={},
        diagnosis=[],
        **given,
    )


def asked(study: Study) -> Iterator[dict[str, Any]]:
    sampler = make(study, [])
    for number in range(study.target):
        params = sampler.ask(number)
        assert params is not None
        yield params


def ran(study: Study, value: Value) -> Results:
    trials = [
        trial(number, params, [value(params, each) for each in range(study.replicates)])
        for number, params in enumerate(asked(study))
    ]
    return Results(study, "finished", trials, [], None)


def noise(params: Mapping[str, Any], replicate: int) -> float:
    """Some number that depends on the configuration and the replicate."""
    seed = [*repr(sorted(params.items())).encode(), replicate]
    return float(np.random.default_rng(seed).standard_normal())


def planted(params: Mapping[str, Any], replicate: int) -> float:
    """After the activation is better by 0.1 than before it; seeds differ by far more."""
    effect = {"none": -0.2, "before": 0.0, "after": 0.1}[params["model.batch_norm"]]
    return effect + 10.0 * math.sin(replicate) + 0.01 * noise(params, replicate)


def found(results: Results) -> Finding:
    (only,) = findings(results)
    return only
