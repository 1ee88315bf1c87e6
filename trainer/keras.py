"""Weights from Keras: the arrays of `model.get_weights()` kept as `.npz`, laid out as here.

`np.savez("net.npz", *model.get_weights())` writes them. Keras has a dense layer's kernel (in, out)
and a convolution's (k, k, C, F), and flattens images pixel by pixel, as is done here.
"""

import os

import numpy as np

from trainer import npz
from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import Image
from trainer.foreign import ForeignError, Norm, Part, counted, fitted


def load(
    path: str | os.PathLike[str], config: Config, image: Image | None = None
) -> dict[str, Array]:
    """The weights of a net of Conv2D, Dense and BatchNormalization layers, as `state.weights`.

    Args:
        path: a file that holds the arrays in their order, as `arr_0`, `arr_1`, ….
        config: the net; its `training.precision` is the type of the weights.
        image: the shape of its images, which a net with convolutions must know. Without
            convolutions it says that the net flattens images: the rows here are theirs channel by
            channel.

    Returns:
        Arrays by name with the replicate axis first, R = 1.

    Raises:
        ForeignError: the file is of no use, or fits another net; with both shapes.
    """
    try:
        held = npz.read(path)
    except npz.NpzError as error:
        raise ForeignError(str(error)) from error
    names = [f"arr_{index}" for index in range(len(held))]
    if set(names) != set(held):
        rule = "must hold arr_0, arr_1, … as numpy.savez(file, *model.get_weights()) names them"
        raise ForeignError(f"{path}: {rule}")
    groups: list[list[str]] = []
    for name in names:
        if held[name].dtype.kind not in "fi":
            raise ForeignError(f"{path}: {name} must hold numbers, not {held[name].dtype}")
        if held[name].ndim in (2, 4):
            groups.append([name])
        elif held[name].ndim == 1 and groups:
            groups[-1].append(name)
        else:
            rule = "must be a kernel of two or four axes, or belong to the one before it"
            raise ForeignError(f"{path}: {name} {rule}, has shape {held[name].shape}")
    parts = [_part(path, group, [held[name] for name in group]) for group in groups]
    deep = sum(part.weight.ndim == 4 for part in parts)
    if any(part.weight.ndim == 4 for part in parts[deep:]):
        raise ForeignError(f"{path}: must have its convolutions before its dense layers")
    norms = sum(part.norm is not None for part in parts)
    counted(path, config.model, convolutions=deep, dense=len(parts) - deep, norms=norms)
    if image is not None and not deep:
        parts[0] = _by_channel(parts[0], image)
    return fitted(path, config, parts, image)


def _part(path: object, names: list[str], arrays: list[Array]) -> Part:
    """A kernel, its bias and the four arrays of its batch norm, of which some may be missing."""
    name, (weight, *rest) = names[0], arrays
    if len(rest) not in (0, 1, 4, 5):
        rule = "must be followed by a bias, by γ, β, mean and variance of a batch norm, or by both"
        raise ForeignError(f"{path}: {name} {rule}, is followed by {len(rest)} arrays")
    bias = rest[0] if len(rest) in (1, 5) else None
    norm = Norm(*rest[-4:]) if len(rest) >= 4 else None
    return Part(name, weight, bias, norm)


def _by_channel(part: Part, image: Image) -> Part:
    """The part with the inputs of flattened images in the order that rows have here."""
    channels, height, width = image
    if len(part.weight) != np.prod(image):
        return part  # which does not fit
    pixels = part.weight.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
    return Part(part.name, pixels.reshape(part.weight.shape), part.bias, part.norm)
