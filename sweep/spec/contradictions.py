"""What of a study can't be: fields that are right by themselves and not together."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweep.spec import space
from sweep.spec.corners import corners
from sweep.spec.objectives import Constraint
from trainer.config import Config, conflicts, elsewhere
from trainer.losses import LOSSES, OF_NUMBERS
from trainer.rules import Problem, build, join, named

LISTED = ("grid", "factorial")
"""Samplers that list every combination of values."""

DESIGNED = (*LISTED, "qmc")
"""Samplers whose points are known before the first trial."""

MUTABLE = (
    "model.dropout",
    "training.learning_rate",
    "training.l1",
    "training.l2",
    "training.max_norm",
    "training.label_smoothing",
    "training.clip_value",
    "training.clip_norm",
    "training.augment",
    "training.optimizer.",  # its parameters, not itself
)
"""How the names of parameters begin that may change while a net trains."""

MOST_POINTS = 100_000
"""The most points that a design may have."""

EXTRAS = {"cmaes": "cmaes", "gp": "torch"}
"""Samplers that need a package which is no dependency."""

Tree = Mapping[str, Any]
"""The values of a study file as the rules have let them through; `objective` is a list."""


def contradictions(
    values: Tree, tree: Tree, template: Tree, constraints: Sequence[Constraint]
) -> list[Problem]:
    """Every mistake that lies between the fields of a study.

    Args:
        values: what its file says.
        tree: the same with all defaults.
        template: those that its trials are trained by, with their distributions.
        constraints: its constraints.
    """
    regression = named(tree["data"]["task"])[0] == "regression"
    if tree["trainer"] is None:
        problems = _conflicts(template, tree["resources"]["gpu"], regression=regression)
    else:
        problems = _unmodelled(tree)
    problems += _beside_the_task(tree, constraints, regression=regression)
    problems += _unsearchable(tree, template) or _unrepeatable(tree, template)
    problems += _misjudged(tree, constraints)
    problems += _miscounted(tree, values)
    problems += _unbred(tree, template, values)
    if tree["search"]["reproducible"]:
        problems += _timed(tree, constraints)
    elif tree["resources"]["gpu"] == "auto":
        problems += _on_either(tree, constraints)
    return problems


def mutates(name: str) -> bool:
    """Whether a parameter may change while a net trains."""
    return name.startswith(MUTABLE)


def _conflicts(template: Tree, gpu: float | str, *, regression: bool) -> list[Problem]:
    """Combinations of fields that can't be trained, wherever the search space can reach one.

    A conflict is between two fields, so every pair of extreme values is tried, with the other
    parameters at their first.
    """
    found: dict[str, Problem] = {}
    for plain in corners(template):
        config = build(Config, plain)
        problems = conflicts(config) + (elsewhere(config) if gpu not in (0, "auto") else [])
        loss = config.training.loss.name
        if (loss in OF_NUMBERS) != regression:
            wanted = " or ".join(each for each in LOSSES if (each in OF_NUMBERS) == regression)
            rule = f"must be {wanted} with data.task {_task(regression=regression)}"
            problems = [Problem("training.loss", rule, loss)]
        found |= {str(problem): problem for problem in problems}
    return list(found.values())


def _task(*, regression: bool) -> str:
    return "regression" if regression else "classification"


def _beside_the_task(
    tree: Tree, constraints: Sequence[Constraint], *, regression: bool
) -> Iterator[Problem]:
    """What is of no meaning with numbers to predict, or with classes."""
    task = _task(regression=regression)
    if regression and tree["trainer"] is not None:
        yield Problem("data.task", "must be classification with trainer", task)
    if regression and tree["data"]["classes"] is not None:
        yield Problem("data.classes", f"must be left out with data.task {task}")
    theirs, ours = ("_accuracy", "_r2") if regression else ("_r2", "_accuracy")
    for path, metric in [*_judges(tree, constraints), *_claimed(tree)]:
        if metric.endswith(theirs):
            own = metric.replace(theirs, ours)
            yield Problem(path, f"must be {own} or a loss with data.task {task}", metric)


def _judges(tree: Tree, constraints: Sequence[Constraint]) -> list[tuple[str, str]]:
    """The fields that name what trials are judged by as they are trained, and those metrics."""
    judges = [("objective.metric", each["metric"]) for each in tree["objective"]]
    return judges + [(join("constraints", at), each.metric) for at, each in enumerate(constraints)]


def _claimed(tree: Tree) -> list[tuple[str, str]]:
    """The fields that name what claims are judged by, if they do, and those metrics."""
    return [
        (join(join("claims", at), "by"), claim["by"])
        for at, claim in enumerate(tree["claims"])
        if claim["by"] is not None
    ]


def _unmodelled(tree: Tree) -> list[Problem]:
    models = tree["record"]["models"]
    if models == "none":
        return []
    rule = "must be none or left out with trainer: MLflow is given models of our nets alone"
    return [Problem("record.models", rule, models)]


def _unsearchable(tree: Tree, template: Tree) -> list[Problem]:
    """What the sampler can't do with this search space."""
    sampler = named(tree["search"]["sampler"])[0]
    needed = EXTRAS.get(sampler)
    if needed is not None and importlib.util.find_spec(needed) is None:
        rule = f"needs the package {needed}, which the extra `{sampler}` installs"
        return [Problem("search.sampler", rule, sampler)]
    if sampler not in LISTED:
        return []
    endless = [each for each in space.parameters(template) if each.points() is None]
    if endless:
        rule = f"has endless values, which `search.sampler: {sampler}` can't list: give it a step"
        return [Problem(each.name, rule) for each in endless]
    combinations = space.count(template)
    if combinations > MOST_POINTS:
        rule = f"can list at most {MOST_POINTS} combinations of values; here are {combinations}"
        return [Problem("search.sampler", rule, sampler)]
    return []


def _unrepeatable(tree: Tree, template: Tree) -> list[Problem]:
    """What keeps a study from more than one look at its claims."""
    search = tree["search"]
    if search["looks"] == 1:
        return []
    if search["sampler"] not in LISTED:
        rule = f"must be 1 unless search.sampler is {' or '.join(LISTED)}"
    elif tree["data"]["folds"] is not None:
        rule = "must be 1 with data.folds: every fold is trained already"
    elif search["trials"] < (combinations := space.count(template)):
        rule = f"must be 1 unless search.trials is at least the {combinations} combinations"
    else:
        return []
    return [Problem("search.looks", rule, search["looks"])]


def _misjudged(tree: Tree, constraints: Sequence[Constraint]) -> Iterator[Problem]:
    """What can't be with several objectives, or with constraints."""
    metrics = [each["metric"] for each in tree["objective"]]
    for index, metric in enumerate(metrics):
        if metric in metrics[:index]:
            path = join(join("objective", index), "metric")
            yield Problem(path, "is that of an earlier objective", metric)
    several, search = len(metrics) > 1, tree["search"]
    sampler, pruner = named(search["sampler"])[0], named(search["pruner"])[0]
    if several and pruner != "none":
        rule = "must be none with several objectives: among them nobody is ahead"
        yield Problem("search.pruner", rule, pruner)
    if sampler in ("cmaes", "pbt") and (several or constraints):
        what = "several objectives" if several else "constraints"
        yield Problem("search.sampler", f"can't search with {what}; tpe and gp can", sampler)


def _unbred(tree: Tree, template: Tree, values: Tree) -> Iterator[Problem]:
    """What can't be with population-based training."""
    search = tree["search"]
    sampler, given = named(search["sampler"])
    if sampler != "pbt":
        return
    if tree["trainer"] is not None:
        rule = "can't be pbt with trainer: which of its arguments may change is not known"
        yield Problem("search.sampler", rule, sampler)
        return
    pruner = named(search["pruner"])[0]
    if pruner != "none":
        rule = "must be none with search.sampler: pbt, which lets the worst go on from the best"
        yield Problem("search.pruner", rule, pruner)
    whole = given["population"] * given["segments"]
    trials = (values.get("search") or {}).get("trials", whole)
    if trials != whole:
        rule = f"must be population × segments ({whole}) or left out"
        yield Problem("search.trials", rule, trials)
    epochs = template["training"]["epochs"]
    if not isinstance(epochs, int):
        yield Problem("training.epochs", "can't be searched with search.sampler: pbt")
    elif epochs < given["segments"]:
        rule = f"must be at most training.epochs ({epochs})"
        yield Problem("search.sampler.pbt.segments", rule, given["segments"])
    if template["training"]["early_stopping"] is not None:
        rule = "must be null with search.sampler: pbt, where a net's last value counts"
        yield Problem("training.early_stopping", rule)
    if not any(mutates(each.name) for each in space.parameters(template)):
        rule = "needs a searched field that may change while a net trains, such as"
        yield Problem("search.sampler", f"{rule} training.learning_rate or model.dropout", "pbt")


def _miscounted(tree: Tree, values: Tree) -> Iterator[Problem]:
    gpu, folds = tree["resources"]["gpu"], tree["data"]["folds"]
    replicates = values.get("replicates")
    if gpu != "auto" and gpu > 1 and gpu != int(gpu):
        yield Problem("resources.gpu", "must be a whole number above 1", gpu)
    if folds is not None and replicates not in (None, folds):
        rule = f"must be data.folds ({folds}) or left out: each replicate is a fold"
        yield Problem("replicates", rule, replicates)


def _on_either(tree: Tree, constraints: Sequence[Constraint]) -> Iterator[Problem]:
    """What can't be compared between trials on a processor and on a card."""
    for path, metric in [*_judges(tree, constraints), *_claimed(tree)]:
        if metric.endswith("_seconds"):
            rule = "must not be a time with resources.gpu: auto: it depends on the device"
            yield Problem(path, rule, metric)


def _timed(tree: Tree, constraints: Sequence[Constraint]) -> Iterator[Problem]:
    """What of a study depends on how fast its workers are."""
    why = "with search.reproducible: it depends on how fast workers are"
    for budget in ("timeout", "worker_seconds"):
        if tree["search"][budget] is not None:
            yield Problem(f"search.{budget}", f"must be left out {why}", tree["search"][budget])
    if tree["resources"]["gpu"] == "auto":
        yield Problem("resources.gpu", f"must be a number {why}", "auto")
    for path, metric in _judges(tree, constraints):
        if metric.endswith("_seconds"):
            yield Problem(path, f"must not be a time {why}", metric)
