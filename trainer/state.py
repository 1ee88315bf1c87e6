"""States: what a training goes on from, as plain arrays; its beginning, and the net in it."""

import numpy as np

from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import Image
from trainer.data import Data
from trainer.network import Layout, Network, above, blocks
from trainer.optimisers import slots
from trainer.prediction import at_once
from trainer.pretraining import PRETRAINING
from trainer.schedules import plateau
from trainer.streams import Purpose, generator
from trainer.targets import restored, scales
from trainer.tasks import REGRESSION, metrics
from trainer.transfer import FROZEN
from trainer.transfer import arrays as transferred

State = dict[str, Array]
"""Plain arrays, all with the replicate axis R first but for two:

`epoch` (): epochs completed; `sizes` (2,): input features and classes (or numbers to predict), with
convolutions (5,): then channels, height and width of an image; `frozen.…` (1, …): layers that stay
as they are; in a regression `targets.shift` and `targets.scale` (R, K), see `targets`;
`parameters` (R, P), `running` (R, S) and the optimiser's slots (R, P), flat as in `Layout`;
`metrics.…` (R,): the values of the trial if it ended here; `seconds.…` (R,): what it took;
on a plateau `plateau.factor`, `.best` and `.waited` (R,), see `schedules`;
under early stopping also `stopped` (R,): the epoch of the stop or 0, `waited` (R,): epochs since
the best, and `best.parameters`, `best.running`.
"""

SECONDS = ("epoch", "predict", "folded_predict")


def weights(config: Config, state: State) -> dict[str, Array]:
    """What prediction needs, by name and with the replicate axis first: `0.weight`, `0.bias`, ….

    Under early stopping the best weights of each replicate. In a regression the outputs are in the
    targets' unit, and the last layer is in float64. With convolutions also `image` (R, 3), the
    shape of the features.
    """
    found = learnt(config, state)
    if config.training.task is REGRESSION:
        last = [f"{config.model.depth}.{part}" for part in ("weight", "bias")]
        found |= zip(last, restored(found[last[0]], found[last[1]], state), strict=True)
    return found


def learnt(config: Config, state: State) -> dict[str, Array]:
    """The same as it was learnt: in a regression the outputs are on the scale of `targets`."""
    inputs, classes, *shape = (int(size) for size in state["sizes"])
    binary, image = config.training.binary, Image(*shape) if shape else None
    net = above(config.model, inputs=inputs, classes=classes, binary=binary, image=image)
    prefix = "best." if config.training.early_stopping else ""
    parameters = Layout(net.learned).views(state[f"{prefix}parameters"])
    found = parameters | Layout(net.statistics).views(state[f"{prefix}running"])
    count = len(state["parameters"])
    found |= {name: np.repeat(array, count, axis=0) for name, array in frozen(state).items()}
    if image is not None:
        found["image"] = np.tile(np.array(image), (count, 1))
    return found


def frozen(state: State) -> dict[str, Array]:
    """The arrays (1, …) of layers that stay as they are."""
    return {
        name.removeprefix(FROZEN): array for name, array in state.items() if name.startswith(FROZEN)
    }


def begun(config: Config, net: Network, data: Data, *, seed: int, replicates: range) -> State:
    """The state before the first epoch: first weights, drawn, taken over or pretrained.

    Args:
        config: the net and its training.
        net: what is trained of it.
        data: the rows, and the models to start from.
        seed: the study's seed.
        replicates: whose streams the weights are drawn from.
    """
    dtype = np.dtype(config.training.precision.name)
    streams = [generator(seed=seed, purpose=Purpose.INIT, replicate=each) for each in replicates]
    count = len(replicates)
    inputs, image = data.folds[0].x_train.shape[1], data.image if config.model.channels else None
    state = {
        "epoch": np.zeros((), np.int64),
        "sizes": np.array([inputs, net.classes, *(image or ())]),
        "parameters": Layout(net.learned).draw(streams, dtype),
        "running": Layout(net.statistics).draw(streams, dtype),
    }
    if config.model.start_from is not None:
        known = Layout(net.learned).views(state["parameters"])
        known |= Layout(net.statistics).views(state["running"])
        for name, array in transferred(data, config, layers=config.model.kept).items():
            if name in known:
                known[name][...] = array
            else:
                state[f"{FROZEN}{name}"] = array
    if config.model.pretrain.name != "none":
        views = Layout(net.learned).views(state["parameters"])
        _pretrain(config, net, views, data, seed, replicates)
    training, weights = config.training, Layout(net.weights).size
    state |= slots(training.optimizer, training.learning_rate, state["parameters"], weights)
    state |= plateau(training.schedule, count)
    if training.task is REGRESSION:
        state |= scales([data.fold(place).y_train for place in range(count)])
    state |= {f"metrics.{name}": np.full(count, np.nan) for name in metrics(training.task)}
    state |= {f"seconds.{name}": np.full(count, np.nan) for name in SECONDS}
    if config.training.early_stopping:
        state["stopped"] = np.zeros(count, np.int64)
        state["waited"] = np.zeros(count, np.int64)
        state["best.parameters"] = state["parameters"].copy()
        state["best.running"] = state["running"].copy()
    return state


def _pretrain(
    config: Config, net: Network, views: dict[str, Array], data: Data, seed: int, replicates: range
) -> None:
    """Moves the hidden layers' first weights in place, replicate by replicate."""
    technique, dtype = config.model.pretrain, np.dtype(config.training.precision.name)
    inputs, rows = net.inputs, at_once(net)
    hidden = list(blocks(config.model, inputs=inputs, image=data.image, at_once=rows))
    for place, replicate in enumerate(replicates):
        fold = data.fold(place)
        mine = {name: array[place] for name, array in views.items()}
        streams = [
            generator(seed=seed, purpose=Purpose.PRETRAINING, replicate=replicate, epoch=index)
            for index in range(len(hidden))
        ]
        x = np.asarray(fold.x_train, dtype)
        with np.errstate(all="ignore"):
            PRETRAINING[technique.name].learn(technique, hidden, mine, x, fold.y_train, streams)
