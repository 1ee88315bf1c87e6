"""Weights from PyTorch: a `state_dict` kept as safetensors or `.npz`, laid out as here.

There a linear layer's weight is (out, in), here (in, out); a convolution's is (F, C, k, k), here
(k·k·C, F); and images are flattened channel by channel, here pixel by pixel. What a net computes
between its layers is not in a `state_dict`: activation, stride, padding, pooling, place and ε of
batch norm are those of the configuration.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainer import npz, safetensors
from trainer.arrays import Array
from trainer.config import Config, Model
from trainer.convolution import Image
from trainer.network import images, network

Module = dict[str, Array]
"""The arrays of one module by name: `weight`, `bias`, `running_mean`, …"""


class StateDictError(ValueError):
    """A file whose arrays are not those of the net that the configuration describes."""


def load(
    path: str | os.PathLike[str], config: Config, image: Image | None = None
) -> dict[str, Array]:
    """The weights of a net of convolutions, linear layers and batch norms, as `state.weights`.

    The layers are in the order of their names, numbers by value (`fc2` before `fc10`), convolutions
    before linear ones; batch norms count apart, those beside convolutions (`features.1`) first. A
    bias below batch norm, which is redundant here, goes into the running mean.

    Args:
        path: a file whose name ends in .safetensors or .npz; no pickle is read.
        config: the net; its `training.precision` is the type of the weights.
        image: the shape of its images, which a net with convolutions must know.

    Returns:
        Arrays by name with the replicate axis first, R = 1.

    Raises:
        StateDictError: the file is of no use, or fits another net; with both shapes.
    """
    model = config.model
    shapes = _shapes(path, model, image)
    modules = _modules(path)
    layers, norms = _named(path, model, modules)
    found: dict[str, Array] = {}
    for index, name in enumerate(layers):
        weight = modules[name]["weight"]
        if index < len(model.channels):
            size = int(model.architecture["kernel"])
            kernel = (shapes[2 * index].channels, size, size)
            if weight.shape[1:] != kernel:
                rule = f"kernels of {name} must have shape {kernel}, have {weight.shape[1:]}"
                raise StateDictError(f"{path}: {rule}")
            weight = _by_pixel(weight)
        elif shapes and index == len(model.channels) and weight.shape[1] == np.prod(shapes[-1]):
            weight = _by_pixel(weight.reshape(-1, *shapes[-1]))
        else:
            weight = weight.T
        found[f"{index}.weight"] = weight
        found[f"{index}.bias"] = modules[name].get("bias", np.zeros(weight.shape[1]))
    for index, name in enumerate(norms):
        norm = modules[name]
        mean = norm["running_mean"]
        found[f"{index}.gamma"] = norm.get("weight", np.ones(mean.shape))
        found[f"{index}.beta"] = norm.get("bias", np.zeros(mean.shape))
        found[f"{index}.variance"] = norm.get("running_var", np.ones(0))
        if model.batch_norm.name == "before":
            bias = found.pop(f"{index}.bias")
            if bias.shape != mean.shape:
                rule = f"{name} must have as many units as {layers[index]}, {bias.shape}"
                raise StateDictError(f"{path}: {rule}, not {mean.shape}")
            mean = mean.astype(np.float64) - bias  # (x·W + b) - μ = x·W - (μ - b)
        found[f"{index}.mean"] = mean
    return _fitted(path, config, found, image if model.channels else None)


def _shapes(path: str | os.PathLike[str], model: Model, image: Image | None) -> list[Image]:
    """The shapes of an image on its way to the dense layers; none without convolutions."""
    if not model.channels:
        return []
    if image is None:
        rule = "must come with the shape of its images"
        raise StateDictError(f"{path}: {rule}: model.architecture is cnn")
    shapes = list(images(model, image))
    if not shapes[-1].pixels:
        raise StateDictError(f"{path}: {_described(model)} leaves nothing of {image}")
    return shapes


def _named(
    path: str | os.PathLike[str], model: Model, modules: Mapping[str, Module]
) -> tuple[list[str], list[str]]:
    """The modules of the layers, convolutions first, and those of the batch norms."""
    axes = {name: np.ndim(module.get("weight", 0)) for name, module in modules.items()}
    convolutions = [name for name in modules if axes[name] == 4]
    linear = [name for name in modules if axes[name] == 2]
    norms = [name for name, module in modules.items() if "running_mean" in module]
    foreign = [name for name in modules if name not in (*convolutions, *linear, *norms)]
    if foreign:
        rule = "must hold Conv2d, Linear and BatchNorm with running statistics alone"
        raise StateDictError(f"{path}: {rule}, not {foreign[0]!r}")
    for kind, names, count in (
        ("Conv2d", convolutions, len(model.channels)),
        ("Linear", linear, len(model.hidden) + 1),
        ("BatchNorm", norms, model.depth if model.batch_norm.name != "none" else 0),
    ):
        if len(names) != count:
            rule = f"must hold {count} {kind} for {_described(model)}"
            raise StateDictError(f"{path}: {rule}, holds {len(names)}")
    return [*convolutions, *linear], norms


def _described(model: Model) -> str:
    channels = f"channels {list(model.channels)}, " if model.channels else ""
    return f"{channels}model.hidden {list(model.hidden)} and batch_norm {model.batch_norm.name}"


def _by_pixel(weight: Array) -> Array:
    """From (F, C, H, W) to (H·W·C, F)."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))


def _fitted(
    path: str | os.PathLike[str],
    config: Config,
    found: Mapping[str, Array],
    image: Image | None,
) -> dict[str, Array]:
    """The arrays that the configuration's net has, of its type."""
    binary = config.training.binary
    inputs = found["0.weight"].shape[0] if image is None else int(np.prod(image))
    outputs = found[f"{config.model.depth}.bias"].shape[0]
    classes = 2 if binary else outputs
    net = network(config.model, inputs=inputs, classes=classes, binary=binary, image=image)
    fitted = {}
    for name, start in (net.learned | net.statistics).items():
        array = found.get(name)
        if array is None or array.shape != start.shape:
            shape = "missing" if array is None else array.shape
            raise StateDictError(f"{path}: {name} must have shape {start.shape}, is {shape}")
        fitted[name] = np.array(array[None], config.training.precision.name, order="C")
        if not np.isfinite(fitted[name]).all():
            raise StateDictError(f"{path}: {name} must hold finite numbers")
    if image is not None:
        fitted["image"] = np.array([image])
    return fitted


def _modules(path: str | os.PathLike[str]) -> dict[str, Module]:
    """The modules in the order of their names, those with convolutions among them first."""
    readers = {".safetensors": safetensors.read, ".npz": npz.read}
    read = readers.get(Path(path).suffix)
    if read is None:
        raise StateDictError(f"{path}: must end in {' or '.join(readers)}; no pickle is read")
    try:
        arrays = read(path)
    except (safetensors.SafetensorsError, npz.NpzError) as error:
        raise StateDictError(str(error)) from error
    deep = {_root(name) for name, array in arrays.items() if array.ndim == 4}
    modules: dict[str, Module] = {}
    for name in sorted(arrays, key=lambda name: (_root(name) not in deep, _natural(name))):
        module, _, part = name.rpartition(".")
        if arrays[name].dtype.kind not in "fi":
            raise StateDictError(f"{path}: {name} must hold numbers, not {arrays[name].dtype}")
        modules.setdefault(module, {})[part] = arrays[name]
    return modules


def _root(name: str) -> str:
    """`features` of `features.3.weight`."""
    return name.partition(".")[0]


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value: (number, "") or (-1, text), part by part."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(each), "") if each.isdigit() else (-1, each) for each in parts]
