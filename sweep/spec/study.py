"""A study: a question, a search space of training configurations, and how to search it.

`check` reads the plain values of a study file, finds every mistake at once, and returns a `Study`.
Nothing else of the sweep starts before that.
"""

import importlib.util
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweep.spec import space
from sweep.spec.claims import Claim, read_claims
from sweep.spec.fields import (
    FIELDS,
    METRICS,
    Checkpoint,
    DataSource,
    Objective,
    Record,
    Resources,
    Search,
)
from sweep.spec.study_file import dump
from trainer.config import Config, conflicts, elsewhere
from trainer.rules import (
    UNREAD,
    ConfigError,
    Problem,
    build,
    read_settings,
)

DESIGNS = ("grid", "factorial")
"""Samplers that list every combination of values."""

MOST_POINTS = 100_000
"""The most points that a design may have."""

EXTRAS = {"cmaes": "cmaes", "gp": "torch"}
"""Samplers that need a package which is no dependency."""

SEARCHABLE = ("model.", "training.", "data.preprocess")
"""Where the paths begin at which a distribution may stand for a value."""


@dataclass(frozen=True)
class Study:
    """A checked study.

    `template` holds `model`, `training` and `data.preprocess` with their distributions; the
    `preprocess` in `data` is that of the first configuration.
    """

    name: str
    question: str
    claims: tuple[Claim, ...]
    data: DataSource
    template: Mapping[str, Any]
    objective: Objective
    search: Search
    replicates: int
    resources: Resources
    checkpoint: Checkpoint
    record: Record
    values: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The study file, with overrides, as it is stored."""
        return dump(dict(self.values))

    @property
    def metric(self) -> str:
        """The objective's metric."""
        return str(self.objective.metric.name)

    @property
    def maximize(self) -> bool:
        """Whether larger values of the objective are better."""
        chosen = self.objective.direction
        return (chosen.name if chosen else METRICS[self.metric]) == "maximize"

    @property
    def epochs(self) -> int:
        """The largest budget that a trial can have."""
        return _largest(self.template["training"]["epochs"])

    @property
    def target(self) -> int:
        """How many trials the study ends with: no more than a design has points, at every look."""
        return self._at_a_look * self.search.looks

    @property
    def _at_a_look(self) -> int:
        if self.search.sampler.name not in DESIGNS:
            return self.search.trials
        return min(self.search.trials, space.count(self.template))

    def look_of(self, number: int) -> int:
        """The look at the claims, from 0, for which a trial is trained."""
        return number // self._at_a_look if self.search.looks > 1 else 0

    def replicates_of(self, number: int) -> range:
        """The replicates that a trial trains: at each look as many again as there were before."""
        look = self.look_of(number)
        before = self.replicates * 2 ** (look - 1) if look else 0
        return range(before, self.replicates * 2**look)

    @property
    def threads(self) -> int:
        """How many BLAS threads a link may use: one for each core."""
        return max(1, int(self.resources.cpu))

    @property
    def lag(self) -> int:
        """How many numbers lie between a trial and the last result that it may depend on.

        0 says that it may depend on whatever is known.
        """
        return self.search.lag if self.search.reproducible else 0

    def parameters(self) -> list[space.Parameter]:
        """The search space, conditional parameters included."""
        return space.parameters(self.template)

    def config(self, chosen: Mapping[str, space.Scalar]) -> dict[str, Any]:
        """The plain configuration for chosen parameter values."""
        plain: dict[str, Any] = space.resolve(self.template, lambda each: chosen[each.name])
        return plain

    def first_config(self) -> dict[str, Any]:
        """The plain configuration with every parameter at its first value."""
        return _first(self.template)

    def corners(self) -> Iterator[dict[str, Any]]:
        """Plain configurations in which every two extreme values of parameters meet once."""
        return _corners(self.template)


def _largest(given: Any) -> int:
    match given:
        case space.Range():
            return int(given.high)
        case space.Choose():
            return max(map(_largest, given.options))
    return int(given)


def check(values: Mapping[str, Any]) -> Study:
    """Checks the plain values of a study file.

    Raises:
        ConfigError: with every mistake found.
    """
    problems: list[Problem] = []
    tree = read_settings(FIELDS, _balanced(values), "", problems, _searchable)
    claims: tuple[Claim, ...] = ()
    if not problems:
        parameters = space.parameters(_template(tree))
        claims = read_claims(tree["claims"], parameters, tree["objective"]["metric"], problems)
        problems += _conflicts(_template(tree), tree["resources"]["gpu"])
        problems += _unsearchable(tree) or _unrepeatable(tree)
        problems += _contradictions(values, tree)
    if problems:
        raise ConfigError(problems)
    template = _template(tree)
    return Study(
        name=tree["name"],
        question=tree["question"],
        claims=claims,
        data=build(DataSource, tree["data"] | _first(template)["data"]),
        template=template,
        objective=build(Objective, tree["objective"]),
        search=build(Search, tree["search"]),
        replicates=tree["data"]["folds"] or tree["replicates"],
        resources=build(Resources, tree["resources"]),
        checkpoint=build(Checkpoint, tree["checkpoint"]),
        record=build(Record, tree["record"]),
        values=dict(values),
    )


def _balanced(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values; a factorial design, which pruning would unbalance, has no pruner by default."""
    search = values.get("search")
    if not isinstance(search, dict) or search.get("sampler") != "factorial":
        return dict(values)
    return {**values, "search": {"pruner": "none", **search}}


def _searchable(rule: Any, found: Any, path: str, problems: list[Problem]) -> Any:
    if path.startswith(SEARCHABLE):
        return space.distribution(rule, found, path, problems)
    return UNREAD


def _template(tree: Mapping[str, Any]) -> dict[str, Any]:
    data = {"preprocess": tree["data"]["preprocess"]}
    return {"data": data, "model": tree["model"], "training": tree["training"]}


def _first(template: Mapping[str, Any]) -> dict[str, Any]:
    """The plain configuration with every parameter at its first value."""
    plain: dict[str, Any] = space.resolve(template, lambda each: _ends(each)[0])
    return plain


def _conflicts(template: Mapping[str, Any], gpu: float) -> list[Problem]:
    """Combinations of fields that can't be trained, wherever the search space can reach one.

    A conflict is between two fields, so every pair of extreme values is tried, with the other
    parameters at their first.
    """
    found: dict[str, Problem] = {}
    for plain in _corners(template):
        config = build(Config, plain)
        problems = conflicts(config) + (elsewhere(config) if gpu else [])
        found |= {str(problem): problem for problem in problems}
    return list(found.values())


def _corners(template: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for pair in itertools.combinations([{}, {}, *_extremes(template)], 2):
        fixed = pair[0] | pair[1]
        yield space.resolve(template, lambda each: fixed.get(each.name, _ends(each)[0]))  # noqa: B023


def _extremes(template: Any) -> Iterator[dict[str, space.Scalar]]:
    """The ends of every parameter, each with the choices that lead to it."""
    match template:
        case space.Range():
            yield from ({template.name: end} for end in _ends(template))
        case space.Choose():
            for label, option in zip(template.labels, template.options, strict=True):
                here = {template.name: label}
                yield from ({**here, **below} for below in [{}, *_extremes(option)])
        case dict() | list():
            for part in template.values() if isinstance(template, dict) else template:
                yield from _extremes(part)


def _ends(parameter: space.Parameter) -> list[space.Scalar]:
    if isinstance(parameter, space.Choose):
        return list(parameter.labels)
    return [parameter.low, parameter.high]


def _unsearchable(tree: Mapping[str, Any]) -> list[Problem]:
    """What the sampler can't do with this search space."""
    sampler = tree["search"]["sampler"]
    needed = EXTRAS.get(sampler)
    if needed is not None and importlib.util.find_spec(needed) is None:
        rule = f"needs the package {needed}, which the extra `{sampler}` installs"
        return [Problem("search.sampler", rule, sampler)]
    if sampler not in DESIGNS:
        return []
    template = _template(tree)
    endless = [each for each in space.parameters(template) if each.points() is None]
    if endless:
        rule = f"has endless values, which `search.sampler: {sampler}` can't list: give it a step"
        return [Problem(each.name, rule) for each in endless]
    combinations = space.count(template)
    if combinations > MOST_POINTS:
        rule = f"can list at most {MOST_POINTS} combinations of values; here are {combinations}"
        return [Problem("search.sampler", rule, sampler)]
    return []


def _unrepeatable(tree: Mapping[str, Any]) -> list[Problem]:
    """What keeps a study from more than one look at its claims."""
    search = tree["search"]
    if search["looks"] == 1:
        return []
    if search["sampler"] not in DESIGNS:
        rule = f"must be 1 unless search.sampler is {' or '.join(DESIGNS)}"
    elif tree["data"]["folds"] is not None:
        rule = "must be 1 with data.folds: every fold is trained already"
    elif search["trials"] < (combinations := space.count(_template(tree))):
        rule = f"must be 1 unless search.trials is at least the {combinations} combinations"
    else:
        return []
    return [Problem("search.looks", rule, search["looks"])]


def _contradictions(values: Mapping[str, Any], tree: Mapping[str, Any]) -> list[Problem]:
    gpu = tree["resources"]["gpu"]
    if gpu > 1 and gpu != int(gpu):
        return [Problem("resources.gpu", "must be a whole number above 1", gpu)]
    folds = tree["data"]["folds"]
    if folds is not None and values.get("replicates", folds) != folds:
        rule = f"must be data.folds ({folds}) or left out: each replicate is a fold"
        return [Problem("replicates", rule, values["replicates"])]
    return list(_timed(tree)) if tree["search"]["reproducible"] else []


def _timed(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """What of a study depends on how fast its workers are."""
    why = "with search.reproducible: it depends on how fast workers are"
    for budget in ("timeout", "worker_seconds"):
        if tree["search"][budget] is not None:
            yield Problem(f"search.{budget}", f"must be left out {why}", tree["search"][budget])
    metric = tree["objective"]["metric"]
    if metric.endswith("_seconds"):
        yield Problem("objective.metric", f"must not be a time {why}", metric)
