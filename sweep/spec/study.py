"""A study: a question, a search space of training configurations, and how to search it.

`check` reads the plain values of a study file, finds every mistake at once, and returns a `Study`.
Nothing else of the sweep starts before that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.spec import space
from sweep.spec.claims import Claim, read_claims
from sweep.spec.contradictions import LISTED, contradictions
from sweep.spec.corners import corners, first
from sweep.spec.fields import (
    FIELDS,
    OWN,
    Checkpoint,
    DataSource,
    Record,
    Resources,
    Search,
)
from sweep.spec.objectives import Constraint, Direction, Objective, read_constraints
from sweep.spec.study_file import dump
from trainer.config import Config
from trainer.losses import OF_NUMBERS
from trainer.reading import UNREAD, read_settings
from trainer.rules import ConfigError, Items, Problem, Section, Setting, build, settings

SEVERAL = {
    "objective": Setting([], Items(Section(Objective), least=1), "what trials are judged by")
}
"""The field `objective` when it is a list."""

REGRESSION_LOSS = OF_NUMBERS[0]
"""What `training.loss` is by default in a regression."""

SEARCHABLE = ("model.", "training.", "data.preprocess")
"""Where the paths begin at which a distribution may stand for a value."""


@dataclass(frozen=True)
class Study:
    """A checked study.

    `template` holds `model`, `training` and `data.preprocess` with their distributions; the
    `preprocess` in `data` is that of the first configuration. `trainer` is `MODULE:CLASS` of the
    user's own, None with nets of ours;
    `storage` the path or the URL where its states are kept, None in the workspace.
    """

    name: str
    question: str
    claims: tuple[Claim, ...]
    data: DataSource
    trainer: str | None
    template: Mapping[str, Any]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    search: Search
    replicates: int
    resources: Resources
    checkpoint: Checkpoint
    storage: str | None
    record: Record
    values: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The study file, with overrides, as it is stored."""
        return dump(dict(self.values))

    @property
    def metric(self) -> str:
        """The metric of the leading objective."""
        return self.objectives[0].name

    @property
    def maximize(self) -> bool:
        """Whether larger values of the leading objective are better."""
        return self.objectives[0].maximize

    @property
    def score(self) -> str:
        """What the winner is told on the test split, as metrics name it."""
        return "r2" if self.data.regression else "accuracy"

    @property
    def directions(self) -> tuple[Direction, ...]:
        """`maximize` or `minimize` for every objective."""
        return tuple(each.wanted for each in self.objectives)

    @property
    def judges(self) -> tuple[str, ...]:
        """The metrics that trials are judged by: of its objectives, constraints and claims."""
        named = [each.name for each in self.objectives]
        named += [each.metric for each in self.constraints]
        named += [each.by for each in self.claims]
        return tuple(dict.fromkeys(named))

    def others(self, metrics: Mapping[str, Sequence[float]]) -> list[float]:
        """A trial's values of all objectives but the leading one: means over the replicates."""
        found = [metrics[each.name] for each in self.objectives[1:]]
        return [sum(values) / len(values) for values in found]

    def order(self, scores: Sequence[float], number: int) -> tuple[float, ...]:
        """What sorts trials, best first: the leading objective, the others, then the number."""
        signed = (
            -score if each.maximize else score
            for each, score in zip(self.objectives, scores, strict=True)
        )
        return (*signed, number)

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
        sampler = self.search.sampler
        if sampler.name == "pbt":
            return int(sampler["population"] * sampler["segments"])
        if sampler.name not in LISTED:
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

    def flat(self, config: Mapping[str, Any]) -> dict[str, space.Scalar]:
        """A plain configuration as one level: dotted paths to scalars."""
        rules = {name: entry.rule for name, entry in _fields(self.values).items()}
        parts = [space.flatten(rules[name], config[name], name) for name in ("model", "training")]
        preprocess = settings(DataSource)["preprocess"].rule, config["data"]["preprocess"]
        return parts[0] | parts[1] | space.flatten(*preprocess, "data.preprocess")

    def first_config(self) -> dict[str, Any]:
        """The plain configuration with every parameter at its first value."""
        return first(self.template)

    def starts(self) -> list[str]:
        """The models that its nets can start from, by name; none with a trainer of the user's."""
        if self.trainer is not None:
            return []
        found = (build(Config, each).model.start_from for each in self.corners())
        return list(dict.fromkeys(each.source for each in found if each is not None))

    def corners(self) -> Iterator[dict[str, Any]]:
        """Plain configurations in which every two extreme values of parameters meet once."""
        return corners(self.template)


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
    several = isinstance(values.get("objective"), list)
    given = _unmodelled(_unpruned(_regressed(values)))
    tree = read_settings(_fields(values), given, "", problems, _searchable)
    claims: tuple[Claim, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    template: dict[str, Any] = {}
    if not problems:
        tree["objective"] = tree["objective"] if several else [tree["objective"]]
        template = _template(tree)
        parameters, metric = space.parameters(template), tree["objective"][0]["metric"]
        claims = read_claims(tree["claims"], parameters, metric, problems)
        constraints = read_constraints(tree["constraints"], problems)
        problems += contradictions(values, tree, template, constraints)
    if problems:
        raise ConfigError(problems)
    return Study(
        name=tree["name"],
        question=tree["question"],
        claims=claims,
        data=build(DataSource, tree["data"] | first(template)["data"]),
        trainer=tree["trainer"],
        template=template,
        objectives=tuple(build(Objective, each) for each in tree["objective"]),
        constraints=constraints,
        search=build(Search, tree["search"]),
        replicates=tree["data"]["folds"] or tree["replicates"],
        resources=build(Resources, tree["resources"]),
        checkpoint=build(Checkpoint, tree["checkpoint"]),
        storage=tree["storage"],
        record=build(Record, tree["record"]),
        values=dict(values),
    )


def _fields(values: Mapping[str, Any]) -> dict[str, Setting]:
    """The fields that a study with these values has."""
    several, own = isinstance(values.get("objective"), list), values.get("trainer") is not None
    return FIELDS | (SEVERAL if several else {}) | (OWN if own else {})


def _regressed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, by default with the loss and the objective of a regression where that is asked.

    The names of both are those of a classification otherwise.
    """
    data = values.get("data")
    task = data.get("task") if isinstance(data, dict) else None
    if task != "regression" and not (isinstance(task, dict) and "regression" in task):
        return dict(values)
    training, objective = values.get("training") or {}, values.get("objective") or {}
    made = dict(values)
    if isinstance(training, dict) and values.get("trainer") is None:
        made["training"] = {"loss": REGRESSION_LOSS, **training}
    if isinstance(objective, dict):
        made["objective"] = _by_r2(objective)
    elif isinstance(objective, list):
        made["objective"] = [_by_r2(each) for each in objective]
    return made


def _by_r2(objective: Any) -> Any:
    return {"metric": "val_r2", **objective} if isinstance(objective, dict) else objective


def _unmodelled(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, by default without models in MLflow where nothing there could predict."""
    record = values.get("record")
    if values.get("trainer") is None or not isinstance(record, dict | None):
        return dict(values)
    return {**values, "record": {"models": "none", **(record or {})}}


def _unpruned(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, by default without a pruner where none can be.

    Pruning would unbalance a factorial design, a population keeps its size, and among several
    objectives nobody is ahead.
    """
    search, objective = values.get("search"), values.get("objective")
    if search is None:
        search = {}
    if not isinstance(search, dict):
        return dict(values)
    sampler = search.get("sampler")
    bred = sampler == "pbt" or (isinstance(sampler, dict) and "pbt" in sampler)
    if sampler == "factorial" or bred or (isinstance(objective, list) and objective[1:]):
        search = {"pruner": "none", **search}
    return {**values, "search": search}


def _searchable(rule: Any, found: Any, path: str, problems: list[Problem]) -> Any:
    if path.startswith(SEARCHABLE):
        return space.distribution(rule, found, path, problems)
    return UNREAD


def _template(tree: Mapping[str, Any]) -> dict[str, Any]:
    data = {"preprocess": tree["data"]["preprocess"]}
    return {"data": data, "model": tree["model"], "training": tree["training"]}
