"""Augmentation: random changes of the training rows, drawn anew for every batch.

The data set itself is never written to: what is changed is the batch's own copy. Pixels that come
from outside an image are 0, which is the mean where the features are standardised. Every change has
its own numbers of a row's eight, used or not, so that trials with different augmentation still
shift, turn and cut by the same draws.
"""

import math

import numpy as np

from trainer.arrays import Array
from trainer.convolution import Image
from trainer.rules import Flag, Integer, Real, section, setting

DRAWN = 8
"""Uniform numbers of each row: down, right, flip, angle, size, contrast, and the cut's place."""


@section
class Augment:
    """What is changed at random in training images; nothing by default."""

    shift: int = setting(0, Integer(0), "pixels at most, up or down and left or right")
    flip: bool = setting(False, Flag(), "every second image, left for right")
    rotate: float = setting(0.0, Real(0.0, 180.0), "degrees at most, either way")
    scale: float = setting(0.0, Real(0.0, 1.0, open_high=True), "share at most, larger or smaller")
    contrast: float = setting(
        0.0, Real(0.0, 1.0), "share at most by which differences from the image's mean change"
    )
    cutout: int = setting(
        0, Integer(0), "side of a square that is put to 0 (DeVries and Taylor 2017)"
    )
    noise: float = setting(0.0, Real(0.0), "standard deviation of white noise, on any features")

    @property
    def pictorial(self) -> bool:
        """Whether something is done that only images allow."""
        moved = self.shift or self.flip or self.rotate or self.scale
        return bool(moved or self.contrast or self.cutout)

    @property
    def any(self) -> bool:
        """Whether anything is done at all."""
        return self.pictorial or self.noise > 0


class Augmentation:
    """Changes batches as it is told to.

    Args:
        augment: what to change.
        image: the shape of a row; None allows nothing but noise.
    """

    def __init__(self, augment: Augment, image: Image | None) -> None:
        self._augment, self._image = augment, image
        if image is not None:
            y, x = np.divmod(np.arange(image.pixels), image.width)
            self._y, self._x = y[None], x[None]

    def __call__(self, x: Array, generator: np.random.Generator) -> None:
        """Changes the rows x (N, D) in place."""
        augment, image = self._augment, self._image
        drawn = generator.random((len(x), DRAWN))
        if image is not None and augment.pictorial:
            pixels = x.reshape(len(x), image.channels, image.pixels)
            if augment.rotate or augment.scale:
                pixels[:] = self._warped(image, pixels, drawn)
            elif augment.shift or augment.flip:
                pixels[:] = _at(image, pixels, *self._moved(image, drawn))
            if augment.contrast:
                mean = x.mean(axis=1, keepdims=True)
                x -= mean
                x *= (1 + augment.contrast * _either(drawn[:, 5:6])).astype(x.dtype)
                x += mean
            if augment.cutout:
                pixels *= ~self._cut(image, drawn)[:, None]
        if augment.noise:
            x += generator.standard_normal(x.shape, dtype=x.dtype) * x.dtype.type(augment.noise)

    def _moved(self, image: Image, drawn: Array) -> tuple[Array, Array]:
        """Where each pixel comes from, line and column (N, H·W), after shift and flip."""
        reach = self._augment.shift
        down, right = np.floor(drawn[:, :2].T * (2 * reach + 1)).astype(int)[..., None] - reach
        column = self._x - right
        if self._augment.flip:
            column = np.where(drawn[:, 2:3] < 0.5, image.width - 1 - column, column)
        return self._y - down, column

    def _warped(self, image: Image, pixels: Array, drawn: Array) -> Array:
        """The images turned and scaled around their middle, between pixels by bilinear weights."""
        line, column = self._moved(image, drawn)
        angle = math.radians(self._augment.rotate) * _either(drawn[:, 3:4])
        size = 1 + self._augment.scale * _either(drawn[:, 4:5])
        middle_y, middle_x = (image.height - 1) / 2, (image.width - 1) / 2
        up, along = line - middle_y, column - middle_x
        y = (np.cos(angle) * up - np.sin(angle) * along) / size + middle_y
        x = (np.sin(angle) * up + np.cos(angle) * along) / size + middle_x
        top, left = np.floor(y), np.floor(x)
        below, beyond = y - top, x - left
        found = np.zeros_like(pixels)
        for line_step, line_share in ((0, 1 - below), (1, below)):
            for column_step, share in ((0, 1 - beyond), (1, beyond)):
                at = (top + line_step).astype(int), (left + column_step).astype(int)
                weight = (line_share * share)[:, None].astype(pixels.dtype)
                found += weight * _at(image, pixels, *at)
        return found

    def _cut(self, image: Image, drawn: Array) -> Array:
        """Which pixels (N, H·W) lie in a square around one that is drawn."""
        side = self._augment.cutout
        y, x = (drawn[:, 6:8] * (image.height, image.width)).astype(int).T[..., None]
        top, left = y - side // 2, x - side // 2
        inside: Array = (top <= self._y) & (self._y < top + side)
        inside &= (left <= self._x) & (self._x < left + side)
        return inside


def _either(drawn: Array) -> Array:
    """Uniform on (-1, 1)."""
    return 2 * drawn - 1


def _at(image: Image, pixels: Array, line: Array, column: Array) -> Array:
    """The pixels (N, C, H·W) at these lines and columns (N, H·W); 0 outside the image."""
    inside = (line >= 0) & (line < image.height) & (column >= 0) & (column < image.width)
    index = np.where(inside, line * image.width + column, 0)[:, None]
    found: Array = np.take_along_axis(pixels, index, axis=2)
    found *= inside[:, None]
    return found
