"""Resizing of images, for nets that start from one which was trained on images of another size."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trainer.arrays import Array
from trainer.convolution import Image

ROWS = 1024
"""Images in a block."""


class Size(NamedTuple):
    """Pixels of an image."""

    height: int
    width: int


def resizing(image: Image, size: Size) -> dict[str, Array]:
    """The arrays that `resized` needs: `lines` (H', H) and `columns` (W', W), in float64."""
    lines, columns = _filters(image.height, size.height), _filters(image.width, size.width)
    return {"lines": lines, "columns": columns}


def resized(arrays: Mapping[str, Array], x: Array) -> Array:
    """The images x (N, C·H·W) as (N, C·H'·W') in float32.

    Every channel is the product lines·image·columnsᵀ.
    """
    lines, columns = arrays["lines"], arrays["columns"]
    height, width = lines.shape[1], columns.shape[1]
    channels = x.shape[1] // (height * width)
    made = np.empty((len(x), channels * len(lines) * len(columns)), np.float32)
    for start in range(0, len(x), ROWS):
        block = x[start : start + ROWS].reshape(-1, channels, height, width)
        made[start : start + ROWS] = (lines @ block @ columns.T).reshape(len(block), -1)
    return made


def _filters(length: int, wanted: int) -> Array:
    """(wanted, length): the weights of the old pixels in each new one, which add up to 1.

    They fall off linearly from the middle of the new pixel, up to one pixel away, an old or a new
    one, whichever is larger: bilinear interpolation, without aliases where it gets smaller.
    """
    step = length / wanted
    middles = (np.arange(wanted) + 0.5) * step
    away = np.abs(np.arange(length) + 0.5 - middles[:, None]) / max(step, 1.0)
    weights: Array = np.maximum(1.0 - away, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
