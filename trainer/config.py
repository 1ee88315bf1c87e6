"""What can be set about a net and its training, and which combinations are impossible."""

from collections.abc import Iterator

from trainer.activations import ACTIVATIONS
from trainer.augmentation import Augment
from trainer.convolution import CNN
from trainer.dropout import KINDS
from trainer.initialisers import INITIALISERS
from trainer.losses import LOSSES, OF_NUMBERS
from trainer.optimisers import OPTIMISERS
from trainer.pretraining import PRETRAINING
from trainer.rules import (
    REQUIRED,
    Choice,
    Flag,
    Integer,
    Items,
    Optional,
    Problem,
    Real,
    Section,
    Setting,
    Technique,
    Text,
    section,
    setting,
)
from trainer.schedules import MONITORED, PLATEAU, SCHEDULES
from trainer.schedules import conflicts as schedule_conflicts
from trainer.tasks import CLASSIFICATION, REGRESSION, Task

BATCH_NORM = {
    "epsilon": Setting(1e-5, Real(0.0, open_low=True), "added to the variance"),
    "momentum": Setting(0.1, Real(0.0, 1.0), "weight of the new batch in the running statistics"),
    "reestimate": Setting(
        False, Flag(), "after each epoch, running statistics of all training rows, with dropout off"
    ),
}


@section
class Dropout:
    """What makes units unreliable in training; a number alone is the rate."""

    rate: float = setting(
        0.0, Real(0.0, 1.0, open_high=True), "probability of dropping a hidden unit"
    )
    kind: Technique = setting(
        "inverted",
        Choice({name: entry.parameters for name, entry in KINDS.items()}),
        "whether to divide in training or to multiply in prediction; uout needs no rate",
    )
    where: Technique = setting(
        "all",
        Choice({"all": {}, "before_bn": {}, "after_last_bn": {}}),
        "at the end of each hidden layer, before each batch norm, or at the end of the last layer",
    )
    input: float = setting(
        0.0, Real(0.0, 1.0, open_high=True), "probability of dropping an input feature"
    )


@section
class StartFrom:
    """Another net whose lowest layers are taken over."""

    source: str = setting(
        REQUIRED, Text(), "a model's file, or MLflow's name for it (models:/NAME@ALIAS)"
    )
    keep: int | None = setting(
        None, Optional(Integer(1)), "how many of the lowest hidden layers; by default all"
    )
    freeze: int = setting(0, Integer(0), "how many of these stay as they are")


@section
class Model:
    """A multilayer perceptron, or one on top of convolutions."""

    architecture: Technique = setting(
        "mlp", Choice({"mlp": {}, "cnn": CNN}), "dense layers alone, or convolutions before them"
    )
    hidden: tuple[int, ...] = setting(
        (64, 64), Items(Integer(1, 1_000_000)), "units of each dense hidden layer"
    )
    activation: Technique = setting(
        "relu",
        Choice({name: entry.parameters for name, entry in ACTIVATIONS.items()}),
        "activation of the hidden layers",
    )
    init: Technique = setting(
        "he_normal",
        Choice({name: entry.parameters for name, entry in INITIALISERS.items()}),
        "how the weights are drawn",
    )
    batch_norm: Technique = setting(
        "none",
        Choice({"none": {}, "before": BATCH_NORM, "after": BATCH_NORM}),
        "batch normalisation before or after the activation",
    )
    dropout: Dropout = setting(
        0.0, Section(Dropout, shorthand="rate"), "a rate, or more about which units drop and where"
    )

    pretrain: Technique = setting(
        "none",
        Choice({"none": {}} | {name: each.parameters for name, each in PRETRAINING.items()}),
        "how hidden layers find their first weights: without labels, or on another task",
    )
    start_from: StartFrom | None = setting(
        None, Optional(Section(StartFrom)), "another net whose lowest layers are taken over"
    )

    @property
    def kept(self) -> int:
        """How many of the lowest hidden layers come from another net."""
        if self.start_from is None:
            return 0
        return self.depth if self.start_from.keep is None else self.start_from.keep

    @property
    def frozen(self) -> int:
        """How many of these stay as they are."""
        return self.start_from.freeze if self.start_from else 0

    @property
    def reestimated(self) -> bool:
        """Whether batch norm's running statistics are found anew after each epoch."""
        return bool(self.batch_norm.parameters.get("reestimate"))

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each convolution; none in a perceptron."""
        return tuple(self.architecture["channels"]) if self.architecture.name == "cnn" else ()

    @property
    def depth(self) -> int:
        """How many hidden layers there are, convolutions included."""
        return len(self.channels) + len(self.hidden)


@section
class EarlyStopping:
    """Stops a replicate that no longer gets better and restores its best weights."""

    patience: int = setting(5, Integer(1), "epochs without a better value")
    monitor: Technique = setting(
        "val_loss", Choice({name: {} for name in MONITORED}), "the value that must get better"
    )


@section
class Training:
    """How the net is trained."""

    epochs: int = setting(27, Integer(1, 1_000_000), "passes over the training data")
    batch_size: int = setting(64, Integer(1), "rows in a mini-batch")
    per_class: int | None = setting(
        None,
        Optional(Integer(1)),
        "labelled rows of each class to train on, other ones in each replicate; by default all",
    )
    optimizer: Technique = setting(
        "adam",
        Choice({name: entry.parameters for name, entry in OPTIMISERS.items()}),
        "how the weights follow the gradient",
    )
    loss: Technique = setting(
        "cross_entropy",
        Choice({name: {} for name in LOSSES}),
        "of a softmax over the classes, of one sigmoid where there are two, of probabilities, "
        "or of numbers",
    )
    label_smoothing: float = setting(
        0.0, Real(0.0, 1.0, open_high=True), "share of each label that all classes divide up"
    )
    augment: Augment = setting(None, Section(Augment), "random changes of the training images")
    learning_rate: float = setting(1e-3, Real(0.0, open_low=True), "step size")
    schedule: Technique = setting(
        "constant",
        Choice({name: entry.parameters for name, entry in SCHEDULES.items()}),
        "what becomes of the learning rate in the course of all epochs",
    )
    warmup: float = setting(0.0, Real(0.0), "epochs in which the learning rate rises from 0")
    l2: float = setting(0.0, Real(0.0), "λ: adds λ/2 of the sum of the squared weights to the loss")
    l1: float = setting(0.0, Real(0.0), "λ: draws weights to 0 by ηλ after each step")
    max_norm: float | None = setting(
        None, Optional(Real(0.0, open_low=True)), "largest norm of a unit's incoming weights"
    )
    clip_value: float | None = setting(
        None, Optional(Real(0.0, open_low=True)), "largest size of a number in the gradient"
    )
    clip_norm: float | None = setting(
        None, Optional(Real(0.0, open_low=True)), "largest norm of the whole gradient"
    )
    early_stopping: EarlyStopping | None = setting(
        None, Optional(Section(EarlyStopping)), "whether to stop when validation gets no better"
    )
    precision: Technique = setting(
        "float32", Choice({"float32": {}, "float64": {}}), "type of all numbers"
    )

    @property
    def binary(self) -> bool:
        """Whether the net has one output, a sigmoid."""
        return self.loss.name == "binary_cross_entropy"

    @property
    def task(self) -> Task:
        """What the net is for: its loss tells."""
        return REGRESSION if self.loss.name in OF_NUMBERS else CLASSIFICATION

    @property
    def monitors(self) -> dict[str, str]:
        """What training watches of the validation rows, by the field that asks for it."""
        found = {}
        if self.early_stopping is not None:
            found["early_stopping.monitor"] = self.early_stopping.monitor.name
        if self.schedule.name == PLATEAU:
            found[f"schedule.{PLATEAU}.monitor"] = self.schedule["monitor"].name
        return found


@section
class Config:
    """Everything the trainer must know but for the data, the seed and the replicates."""

    model: Model = setting(None, Section(Model), "the net")
    training: Training = setting(None, Section(Training), "its training")


def conflicts(config: Config) -> list[Problem]:
    """The combinations in `config` that cannot be trained."""
    found = schedule_conflicts(config.training.schedule, "training.schedule")
    if config.model.batch_norm.name != "none" and config.training.batch_size == 1:
        rule = f"must be at least 2 with model.batch_norm {config.model.batch_norm.name}"
        found.append(Problem("training.batch_size", rule, config.training.batch_size))
    cnn = config.model.architecture
    if cnn.name == "cnn" and cnn["padding"].name == "same" and cnn["kernel"] % 2 == 0:
        rule = "must be odd with padding same"
        found.append(Problem("model.architecture.cnn.kernel", rule, cnn["kernel"]))
    model = config.model
    if model.pretrain.name != "none":
        found += _unpretrainable(model)
    if model.kept > model.depth:
        rule = f"must be at most the {model.depth} hidden layers of the net"
        found.append(Problem("model.start_from.keep", rule, model.kept))
    if model.frozen > model.kept:
        rule = f"must be at most the {model.kept} layers that are taken over"
        found.append(Problem("model.start_from.freeze", rule, model.frozen))
    if model.frozen and config.training.augment.any:
        rule = "must be left out with frozen layers, which see each row once"
        found.append(Problem("training.augment", rule))
    if model.frozen and model.dropout.input > 0:
        rule = "must be 0 with frozen layers, which see each row once"
        found.append(Problem("model.dropout.input", rule, model.dropout.input))
    if config.training.optimizer.name == "ftrl" and config.training.l1 > 0:
        rule = "must be 0 with training.optimizer ftrl, which has an l1 of its own"
        found.append(Problem("training.l1", rule, config.training.l1))
    return [*found, *_foreign_to_the_task(config)]


def _foreign_to_the_task(config: Config) -> Iterator[Problem]:
    """What is of no meaning with numbers to predict, or with classes."""
    training = config.training
    task, given = training.task, f"with training.loss {training.loss.name}"
    for path, monitor in training.monitors.items():
        if monitor not in ("val_loss", f"val_{task.metric}"):
            rule = f"must be val_loss or val_{task.metric} {given}"
            yield Problem(f"training.{path}", rule, monitor)
    if task is CLASSIFICATION:
        return
    if training.label_smoothing:
        rule = f"must be 0 {given}: there are no labels"
        yield Problem("training.label_smoothing", rule, training.label_smoothing)
    if training.per_class is not None:
        rule = f"must be left out {given}: there are no classes"
        yield Problem("training.per_class", rule, training.per_class)
    if config.model.pretrain.name == "pairs":
        rule = f"must not be pairs {given}: there are no classes"
        yield Problem("model.pretrain", rule)


def _unpretrainable(model: Model) -> Iterator[Problem]:
    name, path = model.pretrain.name, "model.pretrain"
    meant = PRETRAINING[name].activations
    if meant and model.activation.name not in meant:
        rule = f"must not be {name} with model.activation {model.activation.name}: it needs"
        yield Problem(path, f"{rule} {' or '.join(meant)}")
    if not model.depth:
        yield Problem(path, "must be none without hidden layers", name)
    if model.start_from is not None:
        yield Problem(path, "must be none with model.start_from", name)


def elsewhere(config: Config) -> list[Problem]:
    """What of a configuration a GPU can't do."""
    found = []
    if config.model.channels:
        rule = "must be mlp on a GPU: convolutions are trained on processors alone"
        found.append(Problem("model.architecture", rule, "cnn"))
    if config.training.augment.any:
        rule = "must be left out on a GPU: batches are changed on processors alone"
        found.append(Problem("training.augment", rule))
    if config.model.reestimated:
        rule = "must be false on a GPU: statistics are found anew on processors alone"
        found.append(Problem(f"model.batch_norm.{config.model.batch_norm.name}.reestimate", rule))
    if config.training.task is REGRESSION:
        rule = "must be of classes on a GPU: regression is trained on processors alone"
        found.append(Problem("training.loss", rule, config.training.loss.name))
    return found
