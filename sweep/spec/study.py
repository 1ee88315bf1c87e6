"""A study: a question, a search space of training configurations, and how to search it.

The sections below are the fields of a study file (those of `model` and `training` are the
trainer's). `check` reads the plain values of a file, finds every mistake at once, and returns a
`Study`. Nothing else of the sweep starts before that.
"""

import importlib.util
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweep.pruners import PRUNERS
from sweep.spec import space
from sweep.spec.study_file import dump
from trainer.config import Config, conflicts
from trainer.preprocessing import PREPROCESSING
from trainer.rules import (
    REQUIRED,
    UNREAD,
    Choice,
    ConfigError,
    Flag,
    Integer,
    Optional,
    Problem,
    Real,
    Section,
    Setting,
    Text,
    build,
    read_settings,
    section,
    setting,
    settings,
)

NAME = r"(?!mlflow\.db|mlartifacts$)[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""A study's name is the name of its folder, experiment and model, so it stays plain.

It is no name that the workspace has for something else.
"""

METRICS = {
    "val_accuracy": "maximize",
    "val_loss": "minimize",
    "train_accuracy": "maximize",
    "train_loss": "minimize",
    "parameters": "minimize",
    "predict_seconds": "minimize",
    "epoch_seconds": "minimize",
}
"""What may be the objective, and its natural direction."""


def _names(*names: str) -> Choice:
    return Choice({name: {} for name in names})


@section
class DataSource:
    """Where the data come from and how they are split (`data`)."""

    source: str = setting(
        "digits", Text(), "digits, or KIND:WHERE (npz, csv, parquet, idx, cifar10)"
    )
    validation: float = setting(
        0.2, Real(0, 1, open_low=True, open_high=True), "share of the training rows to validate on"
    )
    test: float | None = setting(
        None,
        Optional(Real(0, 1, open_low=True, open_high=True)),
        "share of all rows kept for the winner; by default the source's own test split, else 0.2",
    )
    folds: int | None = setting(
        None, Optional(Integer(2)), "makes each replicate one of this many cross-validation folds"
    )
    preprocess: Any = setting(
        "standardize",
        Choice({name: entry.parameters for name, entry in PREPROCESSING.items()}),
        "fitted on the training rows only",
    )


@section
class Objective:
    """What a trial is judged by (`objective`)."""

    metric: Any = setting("val_accuracy", _names(*METRICS), "mean over replicates at the end")
    direction: Any = setting(
        None, Optional(_names("maximize", "minimize")), "by default the metric's natural one"
    )


@section
class Search:
    """How the search space is searched (`search`)."""

    trials: int = setting(60, Integer(1), "how many trials to end with")
    sampler: Any = setting(
        "tpe",
        _names("tpe", "random", "grid", "factorial", "qmc", "cmaes", "gp"),
        "who chooses the configurations",
    )
    pruner: Any = setting(
        "asha",
        Choice({name: entry.parameters for name, entry in PRUNERS.items()}),
        "who ends trials early",
    )
    seed: int = setting(0, Integer(0), "of the search, the splits and every replicate")
    timeout: float | None = setting(
        None, Optional(Real(0, open_low=True)), "seconds after which no new trial starts"
    )
    max_failures: int = setting(10, Integer(1), "failed trials after which a run gives up")
    reproducible: bool = setting(
        False, Flag(), "makes the study a function of its file, whatever the workers do"
    )
    lag: int = setting(
        8, Integer(1), "with reproducible: how many trials a suggestion or a pruning lags behind"
    )


@section
class Resources:
    """What one trial takes of a machine (`resources`)."""

    cpu: float = setting(1, Real(0, open_low=True), "cores")
    gpu: float = setting(0, Real(0), "graphics cards")


@section
class Record:
    """What is kept of a trial beside its metrics (`record`)."""

    weights: Any = setting("all", _names("all", "none"), "whose trained weights are kept")


FIELDS: dict[str, Setting] = {
    "name": Setting(
        REQUIRED,
        Text(
            NAME,
            "letters, digits, `_`, `-` and `.`, not starting with a sign, at most 100, "
            "and no file of the workspace's own",
        ),
        "the study's name",
    ),
    "question": Setting("", Text(r"(?s).*"), "what the study asks, in words"),
    "data": Setting({}, Section(DataSource), "the data"),
    "model": Setting({}, settings(Config)["model"].rule, "the net"),
    "training": Setting({}, settings(Config)["training"].rule, "how it is trained"),
    "objective": Setting({}, Section(Objective), "what a trial is judged by"),
    "search": Setting({}, Section(Search), "how configurations are chosen"),
    "replicates": Setting(3, Integer(1, 1000), "seeds of every configuration"),
    "resources": Setting({}, Section(Resources), "what one trial takes"),
    "record": Setting({}, Section(Record), "what is kept of a trial"),
}
"""The fields of a study file."""

DESIGNS = ("grid", "factorial")
"""Samplers that list every combination of values."""

MOST_POINTS = 100_000
"""The most points that a design may have."""

EXTRAS = {"cmaes": "cmaes", "gp": "torch"}
"""Samplers that need a package which is no dependency."""

SEARCHABLE = ("model", "training")
"""The sections in which a distribution may stand for a value."""


@dataclass(frozen=True)
class Study:
    """A checked study. `template` holds `model` and `training` with their distributions."""

    name: str
    question: str
    data: DataSource
    template: Mapping[str, Any]
    objective: Objective
    search: Search
    replicates: int
    resources: Resources
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
        """How many trials the study ends with: no more than a design has points."""
        if self.search.sampler.name not in DESIGNS:
            return self.search.trials
        return min(self.search.trials, space.count(self.template))

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
        """The plain configuration (`model`, `training`) for chosen parameter values."""
        plain: dict[str, Any] = space.resolve(self.template, lambda each: chosen[each.name])
        return plain


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
    tree = read_settings(FIELDS, dict(values), "", problems, _searchable)
    if not problems:
        problems += _conflicts({name: tree[name] for name in SEARCHABLE})
        problems += _unsearchable(tree)
    if problems:
        raise ConfigError(problems)
    return Study(
        name=tree["name"],
        question=tree["question"],
        data=build(DataSource, tree["data"]),
        template={name: tree[name] for name in SEARCHABLE},
        objective=build(Objective, tree["objective"]),
        search=build(Search, tree["search"]),
        replicates=tree["data"]["folds"] or tree["replicates"],
        resources=build(Resources, tree["resources"]),
        record=build(Record, tree["record"]),
        values=dict(values),
    )


def _searchable(rule: Any, found: Any, path: str, problems: list[Problem]) -> Any:
    section, _, field = path.partition(".")
    if section in SEARCHABLE and field:
        return space.distribution(rule, found, path, problems)
    return UNREAD


def _conflicts(template: Mapping[str, Any]) -> list[Problem]:
    """Combinations of fields that can't be trained, wherever the search space can reach one.

    A conflict is between two fields, so every pair of extreme values is tried, with the other
    parameters at their first.
    """
    found: dict[str, Problem] = {}
    for pair in itertools.combinations([{}, {}, *_extremes(template)], 2):
        fixed = pair[0] | pair[1]
        plain = space.resolve(template, lambda each: fixed.get(each.name, _ends(each)[0]))  # noqa: B023
        config = build(Config, plain)
        found |= {str(problem): problem for problem in conflicts(config)}
    return list(found.values())


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
    template = {name: tree[name] for name in SEARCHABLE}
    endless = [each for each in space.parameters(template) if each.points() is None]
    if endless:
        rule = f"has endless values, which `search.sampler: {sampler}` can't list: give it a step"
        return [Problem(each.name, rule) for each in endless]
    combinations = space.count(template)
    if combinations > MOST_POINTS:
        rule = f"can list at most {MOST_POINTS} combinations of values; here are {combinations}"
        return [Problem("search.sampler", rule, sampler)]
    return []
