"""Checkpoints: named arrays with a configuration in one `.npz` file, without pickle."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer import npz
from trainer.arrays import Array

FORMAT = "sweep checkpoint"
VERSION = 1
_HEADER = "__checkpoint__"


class CheckpointError(ValueError):
    """A file that is no checkpoint, not whole, or of a newer version."""


class Checkpoint(NamedTuple):
    """What a file holds: arrays by name and plain values (as in JSON)."""

    arrays: dict[str, Array]
    config: dict[str, Any]


def save(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], config: Mapping[str, Any]
) -> None:
    """Writes a checkpoint; a file of that name is replaced at once or not at all.

    Args:
        path: where to.
        arrays: plain arrays of numbers, booleans or strings.
        config: plain values, kept with the arrays.

    Raises:
        TypeError: an array or a value is of a type that cannot be kept.
    """
    for name, array in arrays.items():
        if name == _HEADER or np.asarray(array).dtype.hasobject:
            raise TypeError(f"array {name}: must hold numbers, booleans or strings")
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # ascontiguousarray gives an array without axes one
    plain = {name: array.reshape(np.shape(arrays[name])) for name, array in plain.items()}
    header = {"format": FORMAT, "version": VERSION, "config": dict(config)}
    text = json.dumps(header | {"checksum": checksum(plain, config)})
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **{_HEADER: np.array(text)}, **plain)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        CheckpointError: saying what is wrong with the file.
    """
    try:
        arrays = npz.read(path)
    except npz.NpzError as error:
        raise CheckpointError(str(error)) from error
    header = _header(path, arrays)
    if header["version"] > VERSION:
        raise CheckpointError(
            f"{path}: was written in format {header['version']}, this version reads up to {VERSION}"
        )
    if header.get("checksum") != checksum(arrays, header["config"]):
        raise CheckpointError(f"{path}: does not match its checksum")
    return Checkpoint(arrays, header["config"])


def _header(path: str | os.PathLike[str], arrays: dict[str, Array]) -> dict[str, Any]:
    try:
        header = json.loads(str(arrays.pop(_HEADER)))
        if header["format"] == FORMAT and header["version"] >= 1 and "config" in header:
            return dict(header)
    except (KeyError, TypeError, ValueError):
        pass
    raise CheckpointError(f"{path}: is no checkpoint of this program")


def checksum(arrays: Mapping[str, Array], config: Mapping[str, Any]) -> str:
    """SHA-256 over the configuration and over each array's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
