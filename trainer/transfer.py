"""Transfer: nets that start from the lowest layers of another, of which some may stay frozen.

Frozen layers are a fixed function of the rows, so they are applied once, to all rows, and the rest
of the net is trained on what comes out (as Géron 2017, chapter 11, caches frozen layers). They run
as in prediction: without dropout, batch norm with its running statistics.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from trainer.arrays import Array
from trainer.config import Config, Model
from trainer.convolution import Image
from trainer.data import Data, Fold
from trainer.layers import applied
from trainer.network import Network, below, images, network
from trainer.prediction import at_once
from trainer.rules import Problem
from trainer.selection import Features

FROZEN = "frozen."
"""Before the names of frozen arrays in a state."""


def arrays(data: Data, config: Config, *, layers: int) -> dict[str, Array]:
    """The source's arrays of its lowest hidden layers, (1, …) each, of the net's type."""
    start = config.model.start_from
    assert start is not None
    dtype = np.dtype(config.training.precision.name)
    source = data.sources[start.source]
    wanted = {name for name, _ in _shapes(config.model, data, layers)}
    return {name: np.array(source[name][:1], dtype) for name in source if name in wanted}


def misfits(config: Config, data: Data) -> Iterator[Problem]:
    """Why the lowest layers can't be taken over from the source, if they can't."""
    start = config.model.start_from
    if start is None:
        return
    path = "model.start_from.source"
    source = data.sources.get(start.source)
    if source is None:
        yield Problem(path, "must be among the models that came with the data", start.source)
        return
    deep = max(int(name.partition(".")[0]) for name in source if name != "image")
    if config.model.kept > deep:
        rule = f"must be at most the {deep} hidden layers of {start.source}"
        yield Problem("model.start_from.keep", rule, config.model.kept)
        return
    for name, shape in _shapes(config.model, data, config.model.kept):
        if name not in source:
            yield Problem(path, f"must have {name}, which this net has", start.source)
            return
        if source[name].shape[1:] != shape:
            rule = f"must have {name} of shape {shape}, as this net, not {source[name].shape[1:]}"
            yield Problem(path, rule, start.source)
            return


def _shapes(model: Model, data: Data, layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The arrays of the lowest hidden layers."""
    inputs = data.folds[0].x_train.shape[1]
    net = network(model, inputs=inputs, classes=2, image=data.image)
    for name, start in (net.learned | net.statistics).items():
        if int(name.partition(".")[0]) < layers:
            yield name, start.shape


def mapped(data: Data, config: Config, frozen: Mapping[str, Array]) -> Data:
    """The data as the layers above the frozen ones see them.

    Args:
        data: the data.
        config: the net, whose `frozen` lowest layers are applied.
        frozen: their arrays (1, …) by name.
    """
    model, inputs = config.model, data.folds[0].x_train.shape[1]
    net = below(model, inputs=inputs, image=data.image)
    image = None
    if data.image is not None and model.frozen < len(model.channels):
        image = list(images(model, data.image))[2 * model.frozen]

    def through(x: Features) -> Array:
        return _through(net, frozen, x, image)

    folds = [
        Fold(through(each.x_train), each.y_train, through(each.x_val), each.y_val)
        for each in data.folds
    ]
    return replace(data, folds=tuple(folds), image=image)


def _through(net: Network, frozen: Mapping[str, Array], x: Features, image: Image | None) -> Array:
    """Rows (n, D) after the layers; those of an `image` channel by channel."""
    with np.errstate(all="ignore"):
        found = applied(net.layers, frozen, x, at_once(net))
    if image is None:
        return found
    pixels = found.reshape(len(found), image.height, image.width, image.channels)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(found), -1)


def learnt_before(frozen: Mapping[str, Array]) -> int:
    """How many parameters frozen arrays hold: all but the running statistics."""
    learnt = [array for name, array in frozen.items() if not name.endswith((".mean", ".variance"))]
    return sum(array.size for array in learnt)
