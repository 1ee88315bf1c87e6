"""Convolution and pooling, and how images lie in memory between them.

Between the layers of images x is (R, N·H·W, C): the rows are pixels, image by image and line by
line, and the features their channels. So whatever works on rows and features works on each channel
of an image: batch norm per channel, activations, dropout. The data set itself has an image as a row
(C·H·W), channel by channel, as PyTorch has it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from trainer.activations import pieces
from trainer.arrays import Array
from trainer.initialisers import INITIALISERS, Fan
from trainer.layers import Layer, Start, constant
from trainer.rules import Choice, Integer, Items, Setting, Technique
from trainer.tape import Backward, Tape

BLOCK = 2 << 20
"""Bytes of patches that a convolution holds at once, for each replicate, if an image needs less."""

PATCHES = 4
"""Patches that pretraining takes of each image."""

CNN = {
    "channels": Setting((16, 32), Items(Integer(1, 100_000), 1), "of each convolution's output"),
    "kernel": Setting(3, Integer(1, 1000), "height and width of the kernels"),
    "stride": Setting(1, Integer(1, 1000), "pixels from one patch to the next"),
    "padding": Setting(
        "same", Choice({"same": {}, "valid": {}}), "zeros around the image, (kernel - 1)/2, or none"
    ),
    "pool": Setting(
        "max", Choice({"max": {}, "average": {}, "none": {}}), "at the end of each convolution"
    ),
    "pool_size": Setting(2, Integer(2, 1000), "height and width of what is pooled"),
}
"""What a study may set of `model.architecture: cnn`."""


class Image(NamedTuple):
    """The shape of an image."""

    channels: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Height × width."""
        return self.height * self.width


def convolved(image: Image, cnn: Technique, channels: int) -> Image:
    """The shape of an image after a convolution; without pixels where the kernel does not fit."""
    kernel, stride = int(cnn["kernel"]), int(cnn["stride"])
    height, width = (
        max(0, (side + 2 * _padding(cnn) - kernel) // stride + 1) for side in image[1:]
    )
    return Image(channels, height, width)


def pooled(image: Image, cnn: Technique) -> Image:
    """The shape of an image after pooling."""
    size = 1 if cnn["pool"].name == "none" else int(cnn["pool_size"])
    return Image(image.channels, image.height // size, image.width // size)


def _padding(cnn: Technique) -> int:
    return (int(cnn["kernel"]) - 1) // 2 if cnn["padding"].name == "same" else 0


def convolution(
    name: str,
    image: Image,
    channels: int,
    cnn: Technique,
    *,
    init: Technique,
    activation: Technique,
    bias: bool,
    first: bool,
) -> Layer:
    """Cross-correlation as in PyTorch's Conv2d, one GEMM on the patches (im2col) for each block.

    W is (k·k·C, F), its rows kernel line by kernel line. A block is as many images as have patches
    in `BLOCK`; where there are several, they are gathered again for the gradient.

    Args:
        name: prefix of its arrays.
        image: the shape of its input.
        channels: F; the activation may ask for several linear pieces of each.
        cnn: kernel, stride and padding.
        init, activation, bias: as for `layers.dense`.
        first: whether x is the data set's, (R, N, C·H·W), and nothing wants the gradient by it.
    """
    count, pad = pieces(activation), _padding(cnn)
    kernel, stride = int(cnn["kernel"]), int(cnn["stride"])
    depth, height, width = image
    _, out_height, out_width = convolved(image, cnn, channels)
    pixels, size = out_height * out_width, kernel * kernel * depth
    offsets = [(y, x) for y in range(kernel) for x in range(kernel)]

    def draw(generator: np.random.Generator) -> Array:
        scheme, fan = INITIALISERS[init.name], Fan(size, channels, activation, kernel * kernel)
        return np.concatenate([scheme.draw(generator, init, fan) for _ in range(count)], axis=1)

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        xp, sources = tape.xp, x.shape[0]  # one where all replicates look at the same rows
        if first:
            rows = x.shape[1]
            field = x.reshape(sources, rows, depth, height, width).transpose(0, 1, 3, 4, 2)
        else:
            rows = x.shape[1] // (height * width)
            field = x.reshape(sources, rows, height, width, depth)
        if pad:
            inner, shape = field, (sources, rows, height + 2 * pad, width + 2 * pad, depth)
            field = tape.empty(shape)
            tape.add(xp.copyto, field, tape.constant(0.0))
            tape.add(xp.copyto, field[:, :, pad : pad + height, pad : pad + width], inner)
        at_once = min(rows, max(1, BLOCK // (pixels * size * tape.dtype.itemsize)))
        blocks = [(start, min(rows, start + at_once)) for start in range(0, rows, at_once)]
        buffer = tape.empty((sources, at_once * pixels, size))
        weight = tape.variables[f"{name}.weight"]
        z = tape.empty((tape.replicates, rows * pixels, channels * count))

        def patches(images: int) -> Array:
            """(…, H', W', k·k, C) of so many images, as a view on the buffer."""
            part = buffer.reshape(sources, at_once, out_height, out_width, len(offsets), depth)
            return part[:, :images]

        def gather(start: int, stop: int) -> None:
            into = patches(stop - start)
            for place, (top, left) in enumerate(offsets):
                down = slice(top, top + stride * (out_height - 1) + 1, stride)
                right = slice(left, left + stride * (out_width - 1) + 1, stride)
                tape.add(xp.copyto, into[..., place, :], field[:, start:stop, down, right])

        for start, stop in blocks:
            gather(start, stop)
            here = slice(start * pixels, stop * pixels)
            tape.add(xp.matmul, buffer[:, : (stop - start) * pixels], weight.value, out=z[:, here])
        if bias:
            shift = tape.variables[f"{name}.bias"]
            tape.add(xp.add, z, shift.value[:, None, :], out=z)

        def backward(dz: Array) -> Array:
            """DW = patchesᵀ·dz; db = Σ dz; dx adds up dz·Wᵀ where the patches came from."""
            partial = tape.empty(weight.gradient.shape)
            if bias:
                ones = tape.filled((1, 1, rows * pixels), 1.0)
                tape.add(xp.matmul, ones, dz, out=shift.gradient[:, None, :])
            dx = dz if first else tape.empty((tape.replicates, rows, height, width, depth))
            if not first:
                tape.add(xp.copyto, dx, tape.constant(0.0))
            for start, stop in blocks:
                here, part = (
                    slice(start * pixels, stop * pixels),
                    buffer[:, : (stop - start) * pixels],
                )
                if len(blocks) > 1:
                    gather(start, stop)
                into = partial if start else weight.gradient
                tape.add(xp.matmul, part.swapaxes(1, 2), dz[:, here], out=into)
                if start:
                    tape.add(xp.add, weight.gradient, partial, out=weight.gradient)
                if first:
                    continue
                tape.add(xp.matmul, dz[:, here], weight.value.swapaxes(1, 2), out=part)
                found = patches(stop - start)
                for place, (top, left) in enumerate(offsets):
                    (down, to_down), (right, to_right) = (
                        _inside(*each)
                        for each in (
                            (top - pad, stride, out_height, height),
                            (left - pad, stride, out_width, width),
                        )
                    )
                    target = dx[:, start:stop, to_down, to_right]
                    tape.add(xp.add, target, found[:, :, down, right, place], out=target)
            return dx if first else dx.reshape(tape.replicates, rows * height * width, depth)

        return z, backward

    learned = {f"{name}.weight": Start((size, channels * count), draw, weight=True)}
    if bias:
        learned[f"{name}.bias"] = constant((channels * count,), 0.0)
    return Layer(write, learned)


def patches(
    image: Image, cnn: Technique, *, first: bool
) -> Callable[[Array, np.random.Generator], Array]:
    """A function that takes `PATCHES` patches of each image at random places, for pretraining.

    They are rows (n·PATCHES, k·k·C) as `convolution` gathers them, zeros of the padding included.
    What it takes them of are the images that a convolution with this `cnn` and `first` is given,
    without the replicate axis.
    """
    depth, height, width = image
    kernel, stride, pad = int(cnn["kernel"]), int(cnn["stride"]), _padding(cnn)
    out = convolved(image, cnn, 1)
    inside = np.arange(kernel)

    def take(x: Array, generator: np.random.Generator) -> Array:
        if first:
            field = x.reshape(-1, depth, height, width).transpose(0, 2, 3, 1)
        else:
            field = x.reshape(-1, height, width, depth)
        field = np.pad(field, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        every = np.arange(len(field))[:, None, None]
        parts = []
        for _ in range(PATCHES):
            top, left = (stride * generator.integers(side, size=every.shape) for side in out[1:])
            parts.append(field[every, top + inside[:, None], left + inside])
        return np.concatenate(parts).reshape(len(field) * PATCHES, -1)

    return take


def _inside(begin: int, stride: int, count: int, length: int) -> tuple[slice, slice]:
    """Which of the points begin, begin + stride, … lie on a side of this length, and where."""
    low = max(0, -(begin // stride))
    high = min(count, (length - 1 - begin) // stride + 1)
    high = max(low, high)
    start = begin + stride * low
    return slice(low, high), slice(start, max(start, begin + stride * (high - 1) + 1), stride)


def pool(image: Image, cnn: Technique) -> Layer:
    """The largest or the mean number of each square, channel by channel; what is over is left out.

    Of equal numbers the first, line by line, gets the gradient, as in PyTorch.
    """
    size, largest = int(cnn["pool_size"]), cnn["pool"].name == "max"
    small = pooled(image, cnn)
    cropped = (small.height * size, small.width * size) != image[1:]

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        xp, replicates = tape.xp, x.shape[0]
        rows = x.shape[1] // image.pixels
        whole = (replicates, rows, image.height, image.width, image.channels)

        def squares(array: Array) -> list[Array]:
            """The first numbers of all squares, their second ones, and so on."""
            high, wide = small.height * size, small.width * size
            offsets = [(top, left) for top in range(size) for left in range(size)]
            return [array[:, :, top:high:size, left:wide:size] for top, left in offsets]

        given = squares(x.reshape(whole))
        y = tape.empty((replicates, rows, small.height, small.width, image.channels))
        tape.add(xp.copyto, y, given[0])
        for each in given[1:]:
            tape.add(xp.maximum if largest else xp.add, y, each, out=y)
        share = tape.constant(1 / size**2)
        if not largest:
            tape.add(xp.multiply, y, share, out=y)

        def backward(dy: Array) -> Array:
            dy, dx = dy.reshape(y.shape), tape.empty(whole)
            if cropped:
                tape.add(xp.copyto, dx, tape.constant(0.0))
            if not largest:
                for target in squares(dx):
                    tape.add(xp.multiply, dy, share, out=target)
                return dx.reshape(x.shape)
            holds, number = tape.empty(y.shape, bool), tape.empty(y.shape)
            free = tape.empty(y.shape)  # 1 where no number of the square has been the largest yet
            tape.add(xp.copyto, free, tape.constant(1.0))
            for source, target in zip(given, squares(dx), strict=True):
                tape.add(xp.equal, source, y, out=holds)
                tape.add(xp.multiply, holds, free, out=number)
                tape.add(xp.subtract, free, number, out=free)
                tape.add(xp.multiply, number, dy, out=target)
            return dx.reshape(x.shape)

        return y.reshape(replicates, rows * small.pixels, image.channels), backward

    return Layer(write)


def flatten(image: Image) -> Layer:
    """From pixels in rows (R, N·H·W, C) to images in rows (R, N, H·W·C)."""

    def write(_tape: Tape, x: Array) -> tuple[Array, Backward]:
        if not x.flags.c_contiguous:
            raise ValueError("an image must lie in one piece")
        rows = x.shape[1] // image.pixels
        return x.reshape(x.shape[0], rows, -1), lambda dy: dy.reshape(x.shape)

    return Layer(write)
