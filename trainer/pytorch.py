"""Weights from PyTorch: a `state_dict` kept as safetensors or `.npz`, laid out as here.

There a linear layer's weight is (out, in), here (in, out); a convolution's is (F, C, k, k), here
(k·k·C, F); and images are flattened channel by channel, here pixel by pixel.
"""

import os
import re
from pathlib import Path

import numpy as np

from trainer import npz, safetensors
from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import Image
from trainer.foreign import ForeignError, Norm, Part, counted, fitted, shapes

Module = dict[str, Array]
"""The arrays of one module by name: `weight`, `bias`, `running_mean`, …"""


def load(
    path: str | os.PathLike[str], config: Config, image: Image | None = None
) -> dict[str, Array]:
    """The weights of a net of convolutions, linear layers and batch norms, as `state.weights`.

    The layers are in the order of their names, numbers by value (`fc2` before `fc10`), convolutions
    before linear ones; batch norms count apart, those beside convolutions (`features.1`) first.

    Args:
        path: a file whose name ends in .safetensors or .npz; no pickle is read.
        config: the net; its `training.precision` is the type of the weights.
        image: the shape of its images, which a net with convolutions must know.

    Returns:
        Arrays by name with the replicate axis first, R = 1.

    Raises:
        ForeignError: the file is of no use, or fits another net; with both shapes.
    """
    model, sizes = config.model, shapes(path, config.model, image)
    modules = _modules(path)
    axes = {name: np.ndim(module.get("weight", 0)) for name, module in modules.items()}
    convolutions = [name for name in modules if axes[name] == 4]
    linear = [name for name in modules if axes[name] == 2]
    norms = [name for name, module in modules.items() if "running_mean" in module]
    foreign = [name for name in modules if name not in (*convolutions, *linear, *norms)]
    if foreign:
        rule = "must hold Conv2d, Linear and BatchNorm with running statistics alone"
        raise ForeignError(f"{path}: {rule}, not {foreign[0]!r}")
    counts = {"convolutions": len(convolutions), "dense": len(linear), "norms": len(norms)}
    counted(path, model, **counts)
    parts = []
    for index, name in enumerate([*convolutions, *linear]):
        weight = modules[name]["weight"]
        if axes[name] == 4:
            weight = weight.transpose(2, 3, 1, 0)
        elif sizes and name == linear[0] and weight.shape[1] == np.prod(sizes[-1]):
            pixels = weight.reshape(-1, *sizes[-1]).transpose(2, 3, 1, 0)
            weight = pixels.reshape(-1, len(weight))
        else:
            weight = weight.T
        norm = _norm(modules[norms[index]]) if index < len(norms) else None
        parts.append(Part(name, weight, modules[name].get("bias"), norm))
    return fitted(path, config, parts, image)


def _norm(module: Module) -> Norm:
    """Its arrays; without `affine` γ is 1 and β is 0."""
    mean = module["running_mean"]
    gamma, beta = (
        module.get("weight", np.ones(mean.shape)),
        module.get("bias", np.zeros(mean.shape)),
    )
    return Norm(gamma, beta, mean, module.get("running_var", np.ones(0)))


def _modules(path: str | os.PathLike[str]) -> dict[str, Module]:
    """The modules in the order of their names, those with convolutions among them first."""
    readers = {".safetensors": safetensors.read, ".npz": npz.read}
    read = readers.get(Path(path).suffix)
    if read is None:
        raise ForeignError(f"{path}: must end in {' or '.join(readers)}; no pickle is read")
    try:
        arrays = read(path)
    except (safetensors.SafetensorsError, npz.NpzError) as error:
        raise ForeignError(str(error)) from error
    deep = {_root(name) for name, array in arrays.items() if array.ndim == 4}
    modules: dict[str, Module] = {}
    for name in sorted(arrays, key=lambda name: (_root(name) not in deep, _natural(name))):
        module, _, part = name.rpartition(".")
        if arrays[name].dtype.kind not in "fi":
            raise ForeignError(f"{path}: {name} must hold numbers, not {arrays[name].dtype}")
        modules.setdefault(module, {})[part] = arrays[name]
    return modules


def _root(name: str) -> str:
    """`features` of `features.3.weight`."""
    return name.partition(".")[0]


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value: (number, "") or (-1, text), part by part."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(each), "") if each.isdigit() else (-1, each) for each in parts]
