"""Reading safetensors files, which may come from anywhere: a bounded header, then plain bytes.

The format (huggingface.co/docs/safetensors): the header's length as 8 bytes, little-endian; the
header, JSON with `dtype`, `shape` and `data_offsets` of each array; the arrays without gaps.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from trainer.arrays import Array

HEADER = 100_000_000
"""Bytes that a header may have at most, as the format says."""

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}


class SafetensorsError(ValueError):
    """A file that is no whole safetensors file of plain numbers."""


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """All arrays of a file by name, read-only.

    Raises:
        SafetensorsError: the file is not there, not whole, not of this format, or holds numbers
            of a type that NumPy lacks.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SafetensorsError(f"{path}: must be a file that can be read ({error})") from None
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= size <= min(HEADER, len(content) - 8):
        raise SafetensorsError(f"{path}: must be a whole safetensors file (header of {size} bytes)")
    try:
        header = json.loads(content[8 : 8 + size])
    except (ValueError, RecursionError):
        raise SafetensorsError(f"{path}: must have a header in JSON") from None
    if not isinstance(header, dict):
        raise SafetensorsError(f"{path}: must have a JSON object as its header")
    header.pop("__metadata__", None)
    data, arrays, spans = memoryview(content)[8 + size :], {}, []
    for name, entry in header.items():
        dtype, shape, begin, end = _entry(path, name, entry)
        if end > len(data):
            rule = f"must be a whole file; {name} ends at byte {end} of {len(data)}"
            raise SafetensorsError(f"{path}: {rule}")
        arrays[name] = np.frombuffer(data[begin:end], dtype).reshape(shape)
        spans.append((begin, end))
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached:
            raise SafetensorsError(f"{path}: must have no gap or overlap, as at byte {reached}")
        reached = end
    if reached != len(data):
        raise SafetensorsError(f"{path}: must end with its last array, at byte {reached}")
    return arrays


def _entry(
    path: str | os.PathLike[str], name: str, entry: Any
) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """The type, shape, begin and end of an array."""
    try:
        kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        rule = f"{name} must have dtype, shape and data_offsets"
        raise SafetensorsError(f"{path}: {rule}") from None
    if not isinstance(kind, str) or kind not in TYPES:
        known = ", ".join(TYPES)
        raise SafetensorsError(f"{path}: the dtype of {name} must be one of {known}, not {kind!r}")
    dtype = np.dtype(TYPES[kind])
    whole = all(type(each) is int and each >= 0 for each in (*shape, begin, end))
    if not whole or end - begin != math.prod(shape) * dtype.itemsize:
        rule = f"{name} must have as many bytes as its shape {shape} asks for"
        raise SafetensorsError(f"{path}: {rule}, not {begin!r} to {end!r}")
    return dtype, shape, begin, end
