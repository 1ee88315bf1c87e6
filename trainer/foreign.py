"""Nets of other frameworks: their layers, fitted to the net that a configuration describes.

What a net computes between its layers is not in its weights: activation, stride, padding, pooling,
place and ε of batch norm are those of the configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trainer.arrays import Array
from trainer.config import Config, Model
from trainer.convolution import Image
from trainer.network import images, network


class ForeignError(ValueError):
    """A file whose arrays are not those of the net that the configuration describes."""


class Norm(NamedTuple):
    """The arrays of a batch norm, (units,) each."""

    gamma: Array
    beta: Array
    mean: Array
    variance: Array


@dataclass(frozen=True)
class Part:
    """A linear layer, and the batch norm before or after its activation.

    Attributes:
        name: what it is called in the file.
        weight: (D_in, units), or (k, k, C, channels) of a convolution; above convolutions D_in
            counts pixel by pixel.
        bias: (units,), if it has one.
        norm: of its batch norm, if it has one.
    """

    name: str
    weight: Array
    bias: Array | None = None
    norm: Norm | None = None


def shapes(path: object, model: Model, image: Image | None) -> list[Image]:
    """The shapes of an image on its way to the dense layers; none without convolutions."""
    if not model.channels:
        return []
    if image is None:
        rule = "must come with the shape of its images"
        raise ForeignError(f"{path}: {rule}: model.architecture is cnn")
    found = list(images(model, image))
    if not found[-1].pixels:
        raise ForeignError(f"{path}: {_described(model)} leaves nothing of {image}")
    return found


def counted(path: object, model: Model, *, convolutions: int, dense: int, norms: int) -> None:
    """Raises ForeignError unless there are as many layers of each kind as the net has."""
    for kind, count, wanted in (
        ("convolutions", convolutions, len(model.channels)),
        ("dense layers", dense, len(model.hidden) + 1),
        ("batch norms", norms, 0 if model.batch_norm.name == "none" else model.depth),
    ):
        if count != wanted:
            rule = f"must hold {wanted} {kind} for {_described(model)}"
            raise ForeignError(f"{path}: {rule}, holds {count}")


def fitted(
    path: object, config: Config, parts: Sequence[Part], image: Image | None
) -> dict[str, Array]:
    """The arrays of the configuration's net (1, …) by name, as `state.weights` gives them.

    Args:
        path: the file, for the messages.
        config: the net; its `training.precision` is the type of the arrays.
        parts: from the input upwards, `counted`. A bias below batch norm, which is redundant here,
            goes into the running mean.
        image: the shape of its images, if there are convolutions.

    Raises:
        ForeignError: an array does not fit; with both shapes.
    """
    model, binary = config.model, config.training.binary
    found: dict[str, Array] = {}
    for index, part in enumerate(parts):
        weight = part.weight
        if weight.ndim == 4:
            size = int(model.architecture["kernel"])
            kernel = (size, size, shapes(path, model, image)[2 * index].channels)
            if weight.shape[:3] != kernel:
                rule = f"kernels of {part.name} must have shape {kernel}, have {weight.shape[:3]}"
                raise ForeignError(f"{path}: {rule}")
            weight = weight.reshape(-1, weight.shape[3])
        bias = np.zeros(weight.shape[1]) if part.bias is None else part.bias
        found |= {f"{index}.weight": weight, f"{index}.bias": bias}
        if part.norm is not None:
            norm = part.norm
            if model.batch_norm.name == "before" and bias.shape == norm.mean.shape:
                mean = norm.mean.astype(np.float64) - bias  # (x·W + b) - μ = x·W - (μ - b)
                norm = norm._replace(mean=mean)
            found |= {f"{index}.{name}": array for name, array in norm._asdict().items()}
    inputs = found["0.weight"].shape[0] if not model.channels else int(np.prod(image or ()))
    classes = 2 if binary else len(found[f"{model.depth}.bias"])
    net = network(model, inputs=inputs, classes=classes, binary=binary, image=image)
    made = {}
    for name, start in (net.learned | net.statistics).items():
        array = found.get(name)
        if array is None or array.shape != start.shape:
            shape = "missing" if array is None else array.shape
            raise ForeignError(f"{path}: {name} must have shape {start.shape}, is {shape}")
        made[name] = np.array(array[None], config.training.precision.name, order="C")
        if not np.isfinite(made[name]).all():
            raise ForeignError(f"{path}: {name} must hold finite numbers")
    if model.channels:
        made["image"] = np.array([image])
    return made


def _described(model: Model) -> str:
    channels = f"channels {list(model.channels)}, " if model.channels else ""
    return f"{channels}model.hidden {list(model.hidden)} and batch_norm {model.batch_norm.name}"
