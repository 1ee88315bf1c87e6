"""Weights from PyTorch: a `state_dict` kept as safetensors or `.npz`, laid out as here.

There a linear layer's weight is (out, in), here (in, out). What a net computes between its layers
is not in a `state_dict`: activation, place and ε of batch norm are those of the configuration.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainer import npz, safetensors
from trainer.arrays import Array
from trainer.config import Config
from trainer.network import network

Module = dict[str, Array]
"""The arrays of one module by name: `weight`, `bias`, `running_mean`, …"""


class StateDictError(ValueError):
    """A file whose arrays are not those of the net that the configuration describes."""


def load(path: str | os.PathLike[str], config: Config) -> dict[str, Array]:
    """The weights of a net of `Linear` and `BatchNorm1d`, as `state.weights` gives them.

    The layers are in the order of their names, numbers by value (`fc2` before `fc10`); batch norms
    count apart. A bias below batch norm, which is redundant here, goes into the running mean.

    Args:
        path: a file whose name ends in .safetensors or .npz; no pickle is read.
        config: the net; its `training.precision` is the type of the weights.

    Returns:
        Arrays by name with the replicate axis first, R = 1.

    Raises:
        StateDictError: the file is of no use, or fits another net; with both shapes.
    """
    if config.model.channels:
        raise StateDictError(f"{path}: only nets with model.architecture mlp can be read, not cnn")
    modules = _modules(path)
    linear = [name for name, module in modules.items() if np.ndim(module.get("weight", 0)) == 2]
    norms = [name for name, module in modules.items() if "running_mean" in module]
    foreign = [name for name in modules if name not in linear and name not in norms]
    if foreign:
        rule = "must hold Linear and BatchNorm1d with running statistics alone"
        raise StateDictError(f"{path}: {rule}, not {foreign[0]!r}")
    model, hidden = config.model, len(config.model.hidden)
    normed = hidden if model.batch_norm.name != "none" else 0
    for kind, names, count in (("Linear", linear, hidden + 1), ("BatchNorm1d", norms, normed)):
        if len(names) != count:
            rule = f"must hold {count} {kind} for model.hidden {list(model.hidden)}"
            raise StateDictError(f"{path}: {rule} and batch_norm {model.batch_norm.name}")
    found: dict[str, Array] = {}
    for index, name in enumerate(linear):
        weight = modules[name]["weight"].T
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
                rule = f"{name} must have as many units as {linear[index]}, {bias.shape}"
                raise StateDictError(f"{path}: {rule}, not {mean.shape}")
            mean = mean.astype(np.float64) - bias  # (x·W + b) - μ = x·W - (μ - b)
        found[f"{index}.mean"] = mean
    return _fitted(path, config, found)


def _fitted(
    path: str | os.PathLike[str], config: Config, found: Mapping[str, Array]
) -> dict[str, Array]:
    """The arrays that the configuration's net has, of its type."""
    binary = config.training.binary
    inputs, outputs = found["0.weight"].shape[0], found[f"{len(config.model.hidden)}.bias"].shape[0]
    net = network(config.model, inputs=inputs, classes=2 if binary else outputs, binary=binary)
    fitted = {}
    for name, start in (net.learned | net.statistics).items():
        array = found.get(name)
        if array is None or array.shape != start.shape:
            shape = "missing" if array is None else array.shape
            raise StateDictError(f"{path}: {name} must have shape {start.shape}, is {shape}")
        fitted[name] = np.array(array[None], config.training.precision.name, order="C")
        if not np.isfinite(fitted[name]).all():
            raise StateDictError(f"{path}: {name} must hold finite numbers")
    return fitted


def _modules(path: str | os.PathLike[str]) -> dict[str, Module]:
    """The modules in the order of their names."""
    readers = {".safetensors": safetensors.read, ".npz": npz.read}
    read = readers.get(Path(path).suffix)
    if read is None:
        raise StateDictError(f"{path}: must end in {' or '.join(readers)}; no pickle is read")
    try:
        arrays = read(path)
    except (safetensors.SafetensorsError, npz.NpzError) as error:
        raise StateDictError(str(error)) from error
    modules: dict[str, Module] = {}
    for name in sorted(arrays, key=_natural):
        module, _, part = name.rpartition(".")
        if arrays[name].dtype.kind not in "fi":
            raise StateDictError(f"{path}: {name} must hold numbers, not {arrays[name].dtype}")
        modules.setdefault(module, {})[part] = arrays[name]
    return modules


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value: (number, "") or (-1, text), part by part."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(each), "") if each.isdigit() else (-1, each) for each in parts]
