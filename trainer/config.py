"""What can be set about a net and its training, and which combinations are impossible."""

from trainer.activations import ACTIVATIONS
from trainer.initialisers import INITIALISERS
from trainer.optimisers import OPTIMISERS
from trainer.rules import (
    Choice,
    Integer,
    Items,
    Optional,
    Problem,
    Real,
    Section,
    Setting,
    Technique,
    section,
    setting,
)

BATCH_NORM = {
    "epsilon": Setting(1e-5, Real(0.0, open_low=True), "added to the variance"),
    "momentum": Setting(0.1, Real(0.0, 1.0), "weight of the new batch in the running statistics"),
}


@section
class Model:
    """A multilayer perceptron."""

    hidden: tuple[int, ...] = setting((64, 64), Items(Integer(1)), "units of each hidden layer")
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
    dropout: float = setting(
        0.0,
        Real(0.0, 1.0, open_high=True),
        "probability of dropping a hidden unit, after activation and batch norm",
    )


@section
class EarlyStopping:
    """Stops a replicate that no longer gets better and restores its best weights."""

    patience: int = setting(5, Integer(1), "epochs without a better value")
    monitor: Technique = setting(
        "val_loss", Choice({"val_loss": {}, "val_accuracy": {}}), "the value that must get better"
    )


@section
class Training:
    """How the net is trained."""

    epochs: int = setting(27, Integer(1), "passes over the training data")
    batch_size: int = setting(64, Integer(1), "rows in a mini-batch")
    optimizer: Technique = setting(
        "adam",
        Choice({name: entry.parameters for name, entry in OPTIMISERS.items()}),
        "how the weights follow the gradient",
    )
    learning_rate: float = setting(1e-3, Real(0.0, open_low=True), "step size")
    early_stopping: EarlyStopping | None = setting(
        None, Optional(Section(EarlyStopping)), "whether to stop when validation gets no better"
    )
    precision: Technique = setting(
        "float32", Choice({"float32": {}, "float64": {}}), "type of all numbers"
    )


@section
class Config:
    """Everything the trainer must know but for the data, the seed and the replicates."""

    model: Model = setting(None, Section(Model), "the net")
    training: Training = setting(None, Section(Training), "its training")


def conflicts(config: Config) -> list[Problem]:
    """The combinations in `config` that cannot be trained."""
    if config.model.batch_norm.name != "none" and config.training.batch_size == 1:
        rule = f"must be at least 2 with model.batch_norm {config.model.batch_norm.name}"
        return [Problem("training.batch_size", rule, config.training.batch_size)]
    return []
