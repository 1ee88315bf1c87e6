"""The fields of a study file: their defaults, their rules and a line of help.

Those of `model` and `training` are the trainer's (`trainer.config`).
"""

from typing import Any

from sweep.pruners import PRUNERS
from sweep.spec.objectives import METRICS, Objective
from trainer.config import Config
from trainer.preprocessing import PREPROCESSING
from trainer.rules import (
    REQUIRED,
    Anything,
    Arguments,
    Choice,
    Flag,
    Integer,
    Items,
    Optional,
    Real,
    Section,
    Setting,
    Text,
    section,
    setting,
    settings,
)

NAME = r"(?!mlflow\.db|mlartifacts$|ui\.log$)[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""A study's name is the name of its folder, experiment and model, so it stays plain.

It is no name that the workspace has for something else.
"""


SAMPLERS = Choice(
    {
        **{name: {} for name in ("tpe", "random", "grid", "factorial", "qmc", "cmaes", "gp")},
        "pbt": {
            "population": Setting(10, Integer(2), "how many nets train side by side"),
            "segments": Setting(
                6, Integer(2), "parts of the epochs, after each of which they are compared"
            ),
        },
    }
)


def _names(*names: str) -> Choice:
    return Choice({name: {} for name in names})


@section
class ClaimFields:
    """One claim (an entry of `claims`); `sweep.spec.claims` reads what it compares."""

    name: str = setting(
        REQUIRED,
        Text(
            r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}",
            "letters, digits, `_`, `-` and `.`, not starting with a sign, at most 100",
        ),
        "what the claim is called",
    )
    compare: Any = setting(REQUIRED, Anything(), "a field with two of its options")
    expect: str = setting(REQUIRED, Text(), "which option has the larger value: A > B or A < B")
    where: Any = setting(None, Anything(), "other fields, each with the option it is held at")
    best_over: Any = setting(
        None, Optional(Text()), "a field of which each option is taken at its own best value"
    )
    by: Any = setting(None, Optional(_names(*METRICS)), "a metric; by default the objective's")
    margin: float = setting(0.0, Real(0), "the smallest effect of interest")


@section
class Resize:
    """What images are resized to (`data.resize`)."""

    height: int = setting(REQUIRED, Integer(1, 10_000), "pixels from top to bottom")
    width: int = setting(REQUIRED, Integer(1, 10_000), "pixels from left to right")


@section
class DataSource:
    """Where the data come from and how they are split (`data`)."""

    source: str = setting(
        "digits", Text(), "digits, diabetes, or KIND:WHERE (npz, csv, parquet, idx, cifar10)"
    )
    task: Any = setting(
        "classification",
        _names("classification", "regression"),
        "whether y are classes to tell apart or numbers to predict",
    )
    classes: Any = setting(
        None, Optional(Items(Anything())), "the only classes whose rows are used; by default all"
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
    resize: Resize | None = setting(
        None, Optional(Section(Resize)), "what images are resized to before anything else"
    )
    preprocess: Any = setting(
        "standardize",
        Choice({name: entry.parameters for name, entry in PREPROCESSING.items()}),
        "fitted on the training rows only",
    )

    @property
    def regression(self) -> bool:
        """Whether y are numbers to predict."""
        return bool(self.task.name == "regression")


@section
class Search:
    """How the search space is searched (`search`)."""

    trials: int = setting(60, Integer(1), "how many trials to end with")
    sampler: Any = setting(
        "tpe",
        SAMPLERS,
        "who chooses the configurations",
    )
    pruner: Any = setting(
        "asha",
        Choice({name: entry.parameters for name, entry in PRUNERS.items()}),
        "who ends trials early; with the sampler factorial none, unless it is named",
    )
    seed: int = setting(0, Integer(0), "of the search, the splits and every replicate")
    timeout: float | None = setting(
        None, Optional(Real(0, open_low=True)), "seconds after which no new trial starts"
    )
    worker_seconds: float | None = setting(
        None,
        Optional(Real(0, open_low=True)),
        "of training on workers, over all runs of the study, after which no new trial starts",
    )
    max_failures: int = setting(10, Integer(1), "failed trials after which a run gives up")
    reproducible: bool = setting(
        False, Flag(), "makes the study a function of its file, whatever the workers do"
    )
    looks: int = setting(
        1, Integer(1, 3), "how often claims are judged; each look doubles the replicates"
    )
    lag: int = setting(
        8, Integer(1), "with reproducible: how many trials a suggestion or a pruning lags behind"
    )


@section
class Resources:
    """What one trial takes of a machine (`resources`)."""

    cpu: float = setting(1, Real(0.0001), "cores")
    gpu: float | str = setting(
        0, Real(0, word="auto"), "graphics cards, or auto: one where it pays and is free"
    )
    memory: float | None = setting(
        None, Optional(Real(0, open_low=True)), "GiB that Ray sets aside; by default none"
    )
    timeout: float | None = setting(
        None,
        Optional(Real(0, open_low=True)),
        "seconds that one link (from rung to rung) may take from its submission",
    )

    @property
    def automatic(self) -> bool:
        """Whether it is measured which trials train on a card."""
        return self.gpu == "auto"

    @property
    def cards(self) -> float:
        """Cards that every trial takes."""
        return 0.0 if self.automatic else float(self.gpu)


@section
class Checkpoint:
    """When the state of a trial is saved (`checkpoint`)."""

    seconds: float = setting(20, Real(0), "of training that a crash may cost a trial")


@section
class Record:
    """What is kept of a trial beside its metrics (`record`)."""

    weights: Any = setting(
        "all",
        Choice({"all": {}, "best-k": {"k": Setting(5, Integer(1), "how many")}, "none": {}}),
        "whose trained weights are kept",
    )
    models: Any = setting(
        "best",
        Choice(
            {
                "best": {},
                "best-k": {"k": Setting(5, Integer(1), "how many")},
                "all": {},
                "none": {},
            }
        ),
        "whose models are logged: the winner's, those of the best, of all that completed, or none",
    )


STORAGE = r"(?!.*::)(?![^/]*://[^/]*:[^/]*@).+"
"""A path, or one URL; a password in it would be kept with the study file."""

TRAINER = r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*"
"""A module and a name in it, as `trainer` takes them."""


@section
class Budget:
    """What the trainer of a user's own is told about training (`training`)."""

    epochs: int = setting(27, Integer(1, 1_000_000), "passes over the training data")


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
    "trainer": Setting(
        None,
        Optional(Text(TRAINER, "MODULE:CLASS")),
        "a class of the user's own that trains, in place of the nets here",
    ),
    "model": Setting({}, settings(Config)["model"].rule, "the net"),
    "training": Setting({}, settings(Config)["training"].rule, "how it is trained"),
    "objective": Setting({}, Section(Objective), "what a trial is judged by, or a list of such"),
    "constraints": Setting([], Items(Text()), "bounds on metrics, such as parameters <= 100000"),
    "search": Setting({}, Section(Search), "how configurations are chosen"),
    "replicates": Setting(3, Integer(1, 1000), "seeds of every configuration"),
    "claims": Setting([], Items(Section(ClaimFields)), "what it expects"),
    "resources": Setting({}, Section(Resources), "what one trial takes"),
    "checkpoint": Setting({}, Section(Checkpoint), "when the state of a trial is saved"),
    "storage": Setting(
        None,
        Optional(Text(STORAGE, "a path, or one URL (SCHEME://…) without a password")),
        "where states are kept for when the head dies; by default in the workspace",
    ),
    "record": Setting({}, Section(Record), "what is kept of a trial"),
}
"""The fields of a study file."""

OWN: dict[str, Setting] = {
    "model": Setting({}, Arguments(), "the arguments of the trainer's class"),
    "training": Setting({}, Section(Budget), "how long it is trained"),
}
"""Those that are others with a trainer of the user's own."""
