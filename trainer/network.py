"""Networks: layers in a row, and where their arrays lie in one flat vector for each replicate."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.activations import pieces
from trainer.arrays import Array
from trainer.block import Block
from trainer.config import Model
from trainer.convolution import Image, convolution, convolved, flatten, patches, pool, pooled
from trainer.dropout import KINDS
from trainer.layers import Layer, Start, activate, against_zero, batch_norm, dense
from trainer.rules import Technique
from trainer.tape import Backward, Tape, words


class Layout:
    """Named arrays one after the other in a flat vector, one such vector for each replicate."""

    def __init__(self, starts: Mapping[str, Start]) -> None:
        self._starts = dict(starts)
        self.size = sum(int(np.prod(start.shape)) for start in starts.values())

    def draw(self, generators: Sequence[np.random.Generator], dtype: Any) -> Array:
        """First values (R, size), with one generator for each replicate."""
        flat = np.empty((len(generators), self.size), dtype)
        for generator, row in zip(generators, flat, strict=True):
            for name, view in self.views(row[None]).items():
                view[0] = self._starts[name].draw(generator)
        return flat

    def views(self, flat: Array) -> dict[str, Array]:
        """The arrays (R, …) by name, as views on flat (R, size)."""
        views, begin = {}, 0
        for name, start in self._starts.items():
            end = begin + int(np.prod(start.shape))
            views[name] = flat[:, begin:end].reshape(flat.shape[0], *start.shape)
            begin = end
        return views


@dataclass(frozen=True)
class Network:
    """A net for `inputs` features and `classes` classes, or as many numbers to predict.

    `most` is how many numbers an image is at most on its way through the net; 0 without images.
    """

    layers: tuple[Layer, ...]
    inputs: int
    classes: int
    most: int = 0

    @property
    def learned(self) -> dict[str, Start]:
        """What gradient descent moves, by name: the weights first, so that they lie together."""
        return self.weights | self._learned

    @property
    def weights(self) -> dict[str, Start]:
        """What of that is regularised."""
        return {name: start for name, start in self._learned.items() if start.weight}

    @property
    def _learned(self) -> dict[str, Start]:
        return {name: start for layer in self.layers for name, start in layer.learned.items()}

    @property
    def statistics(self) -> dict[str, Start]:
        """Running statistics by name."""
        return {name: start for layer in self.layers for name, start in layer.statistics.items()}

    def random(self, rows: int) -> int:
        """How many random 16-bit words a step with this many rows takes for each replicate."""
        return sum(words((1, rows, layer.random)) for layer in self.layers)

    def write(self, tape: Tape, x: Array) -> tuple[Array, Backward]:
        """Writes the forward pass from x (R or 1, N, D) to the scores (R, K, N)."""
        backwards = []
        for layer in self.layers:
            x, backward = layer.write(tape, x)
            backwards.append(backward)

        def backward_all(dz: Array) -> Array:
            dy = dz.swapaxes(1, 2)
            for each in reversed(backwards):
                dy = each(dy)
            return dy

        return x.swapaxes(1, 2), backward_all


def network(
    model: Model, *, inputs: int, classes: int, binary: bool = False, image: Image | None = None
) -> Network:
    """The net that `model` describes; the arrays of block i have names like `i.weight`.

    With `binary` it has one output for the second of its two classes, see `losses`.

    Args:
        model: what it is like.
        inputs: features.
        classes: K.
        binary: see above.
        image: the shape of the features, which convolutions must know.
    """
    return _written(model, inputs, classes, image, binary=binary, lowest=0)


def above(
    model: Model, *, inputs: int, classes: int, binary: bool = False, image: Image | None = None
) -> Network:
    """The same net without its frozen layers; arguments as for `network`."""
    return _written(model, inputs, classes, image, binary=binary, lowest=model.frozen)


def below(model: Model, *, inputs: int, image: Image | None = None) -> Network:
    """The frozen layers of a net alone, without the scores; arguments as for `network`."""
    layers = _hidden(model, inputs, image, range(model.frozen))
    return Network(tuple(layers), inputs, 0, _most(model, image, 0))


def _written(
    model: Model, inputs: int, classes: int, image: Image | None, *, binary: bool, lowest: int
) -> Network:
    drop = model.dropout
    layers: list[Layer] = []
    if drop.input > 0 and lowest == 0:
        kind = Technique("vanilla" if drop.kind.name == "vanilla" else "inverted")
        layers.append(KINDS[kind.name].layer(kind, inputs, drop.input, first=True))
    layers += _hidden(model, inputs, image, range(lowest, model.depth))
    outputs = 1 if binary else classes
    layers.append(
        dense(
            str(model.depth),
            _width(model, inputs, image, model.depth),
            outputs,
            init=model.init,
            activation=Technique("identity"),
            first=lowest == model.depth,
            last=True,
        )
    )
    if binary:
        layers.append(against_zero())
    width, most = _width(model, inputs, image, lowest), _most(model, image, lowest)
    return Network(tuple(layers), width, classes, most)


def _most(model: Model, image: Image | None, lowest: int) -> int:
    """The numbers of an image where it is largest, if convolutions are among the layers."""
    if image is None or lowest >= len(model.channels):
        return 0
    return max(each.channels * each.pixels for each in images(model, image)) * pieces(
        model.activation
    )


def _width(model: Model, inputs: int, image: Image | None, block: int) -> int:
    """How many features enter a block."""
    if block == 0:
        return inputs
    if block > len(model.channels):
        return model.hidden[block - len(model.channels) - 1]
    assert image is not None
    entering = list(images(model, image))[2 * block]
    return entering.channels * entering.pixels


def images(model: Model, image: Image) -> Iterator[Image]:
    """The shape of an image before each convolution, after it, and so on to the dense layers."""
    yield image
    for channels in model.channels:
        image = convolved(image, model.architecture, channels)
        yield image
        image = pooled(image, model.architecture)
        yield image


def blocks(
    model: Model, *, inputs: int, image: Image | None = None, at_once: int
) -> Iterator[Block]:
    """The hidden layers one by one as pretraining sees them, without batch norm and dropout.

    Arguments as for `network`; they are applied to `at_once` rows or images of the data at once.
    """
    for index in range(model.depth):
        first = index == 0
        parts = _block(model, inputs, image, index, first=first, last=False)
        common: dict[str, Any] = {
            "name": str(index),
            "layers": tuple(part for part in parts if not (part.statistics or part.random)),
            "init": model.init,
            "activation": model.activation,
        }
        if index < len(model.channels):
            assert image is not None
            given = list(images(model, image))[2 * index]
            yield Block(
                units=model.channels[index],
                at_once=at_once * (1 if first else given.pixels),
                rows=patches(given, model.architecture, first=first),
                **common,
            )
        else:
            units = model.hidden[index - len(model.channels)]
            yield Block(units=units, at_once=at_once, rows=lambda x, _generator: x, **common)


def _hidden(model: Model, inputs: int, image: Image | None, blocks: range) -> Iterator[Layer]:
    """Hidden blocks: convolutions, and dense layers after them."""
    for index in blocks:
        first, last = index == blocks.start, index + 1 == blocks.stop
        yield from _block(model, inputs, image, index, first=first, last=last)


def _block(
    model: Model, inputs: int, image: Image | None, index: int, *, first: bool, last: bool
) -> Iterator[Layer]:
    """One of them, perhaps the first of a net, or the last of a net without scores."""
    name, cnn, convolutions = str(index), model.architecture, len(model.channels)
    common: dict[str, Any] = {
        "init": model.init,
        "activation": model.activation,
        "bias": model.batch_norm.name != "before",  # whose β makes it redundant
        "first": first,
    }
    if index >= convolutions:
        units = model.hidden[index - convolutions]
        yield dense(name, _width(model, inputs, image, index), units, **common)
        yield from _after_linear(model, index, units)
        return
    assert image is not None
    given, made, small = list(images(model, image))[2 * index : 2 * index + 3]
    yield convolution(name, given, made.channels, cnn, **common)
    yield from _after_linear(model, index, made.channels, made.pixels)
    if cnn["pool"].name != "none":
        yield pool(made, cnn)
    if last or index + 1 == convolutions:
        yield flatten(small)


def _after_linear(model: Model, index: int, units: int, pixels: int = 1) -> Iterator[Layer]:
    """What follows the linear part of a hidden layer: activation, batch norm and dropout."""
    norm, act, drop = model.batch_norm, model.activation, model.dropout
    name, place = str(index), dropped(model, index)
    kind = KINDS[drop.kind.name]
    if norm.name == "after":
        yield activate(name, act, units)
    wide = units if norm.name == "after" else units * pieces(act)
    if place == "before_bn":
        yield kind.layer(drop.kind, wide, drop.rate, pixels=pixels)
    if norm.name != "none":
        yield batch_norm(name, norm, wide, pixels)
    if norm.name != "after":
        yield activate(name, act, units)
    if place == "end":
        yield kind.layer(drop.kind, units, drop.rate, pixels=pixels)


def dropped(model: Model, index: int) -> str | None:
    """Where a hidden layer drops units: `before_bn`, at its `end`, or nowhere.

    Without batch norm there is no place before it, and units drop at the end.
    """
    drop, last = model.dropout, index == model.depth - 1
    if drop.rate == 0 and not KINDS[drop.kind.name].always:
        return None
    if drop.where.name == "before_bn" and model.batch_norm.name != "none":
        return "before_bn"
    return None if drop.where.name == "after_last_bn" and not last else "end"


def noise(model: Model) -> float | None:
    """The mean square of dropout's factor right before each batch norm; None without dropout there.

    The factor's mean counts as 1.
    """
    drop = model.dropout
    if dropped(model, 0) != "before_bn":
        return None
    return KINDS[drop.kind.name].noise(drop.kind, drop.rate)
