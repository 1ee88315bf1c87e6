"""Fusion: runs of element-wise operations on a tape become one compiled loop each (Numba).

A loop gives, bit for bit, what NumPy gives operation by operation: it holds only operations that
IEEE 754 rounds exactly, in their order and without contraction. What differs is that each number
is read once and written once, and that numbers which nobody reads again are not written at all.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from trainer.arrays import Array, address

FORMS: Mapping[Any, str] = {
    np.add: "{0} + {1}",
    np.subtract: "{0} - {1}",
    np.multiply: "{0} * {1}",
    np.divide: "{0} / {1}",
    np.maximum: "{0} if {0} > {1} or {0} != {0} else {1}",
    np.minimum: "{0} if {0} < {1} or {0} != {0} else {1}",
    np.negative: "-{0}",
    np.absolute: "abs({0})",
    np.sqrt: "sqrt({0})",
    np.greater: "{0} > {1}",
    np.greater_equal: "{0} >= {1}",
    np.less: "{0} < {1}",
    np.equal: "{0} == {1}",
    np.copyto: "{0}",
}
"""The operations that can be fused, as expressions of one number each."""

Operation = Callable[[], Any]
Compiler = Callable[[str], Callable[..., None]]
Key = tuple[Any, ...]


class View:
    """An array with what tells where in memory it lies.

    Attributes:
        array: the array.
        key: equal for views that are the same numbers in the same order.
        low: address of its first byte.
        high: address after its last byte.
    """

    def __init__(self, array: Array) -> None:
        self.array = array
        axes: list[tuple[int, int]] = []
        for length, stride in zip(array.shape, array.strides, strict=True):
            if axes and axes[-1][1] == stride * length:  # the axis before goes on where this ends
                axes[-1] = (axes[-1][0] * length, stride)
            elif length > 1:
                axes.append((length, stride))
        self.low = address(array)
        self.high = self.low + array.itemsize + sum((n - 1) * step for n, step in axes)
        self.key: Key = (self.low, array.dtype.str, *axes)

    def touches(self, other: "View") -> bool:
        """Whether the two may share memory."""
        return self.low < other.high and other.low < self.high

    def overlaps(self, others: Iterable["View"]) -> bool:
        """Whether it may share memory with one of the others, but not as the same numbers."""
        low, high, key = self.low, self.high, self.key
        for other in others:  # noqa: SIM110 - the slow part of reading a program
            if low < other.high and other.low < high and key != other.key:
                return True
        return False

    def oriented(self, swapped: bool) -> Array:
        """With three axes, the last two perhaps swapped."""
        array = self.array[(None,) * (3 - self.array.ndim)]
        return array.swapaxes(1, 2) if swapped else array


@dataclass(frozen=True)
class Frame:
    """The axes over which an operation runs, as they lie in memory."""

    swapped: bool
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Access:
    """What an operation reads and writes; `form` and `frame` are None where it cannot be fused."""

    operation: Operation
    inputs: tuple[View, ...]
    output: View | None
    form: str | None
    frame: Frame | None


class _Reader:
    """Reads operations on arrays of one kind, each array once."""

    def __init__(self, forms: Mapping[Any, str], kind: type[Any]) -> None:
        self._forms, self._kind = forms, kind
        self._views: dict[int, View] = {}
        self._kept: list[Array] = []  # an id is good only as long as its array lives

    def __call__(self, operation: Operation) -> Access:
        """All operations of a tape are `function(*inputs, out=output)`, or `copyto`."""
        if not isinstance(operation, partial):
            raise TypeError("an operation on a tape must be a function with all its arguments")
        function, given, out = operation.func, operation.args, operation.keywords.get("out")
        if getattr(function, "__name__", "") == "copyto":
            out, given = given[0], given[1:]
        inputs = tuple(self._view(each) for each in given if isinstance(each, self._kind))
        output = None if out is None else self._view(out)
        plain = len(inputs) == len(given) and not operation.keywords.keys() - {"out"}
        form = self._forms.get(function) if plain and output is not None else None
        frame = _frame(output) if form and output is not None else None
        return Access(operation, inputs, output, form, frame)

    def _view(self, array: Array) -> View:
        if id(array) not in self._views:
            self._kept.append(array)
            self._views[id(array)] = View(array)
        return self._views[id(array)]


def _frame(output: View) -> Frame | None:
    if output.array.ndim <= 3:
        for swapped in (False, True):
            array = output.oriented(swapped)
            if array.shape[2] == 1 or array.strides[2] == array.itemsize:
                return Frame(swapped, array.shape)
    return None


def fuse(
    operations: Sequence[Operation],
    compiled: Compiler,
    *,
    scratch: Iterable[Array],
    filled: Mapping[int, float],
) -> list[Operation]:
    """The same program with its runs of element-wise operations as loops.

    Args:
        operations: a program that is run again and again.
        compiled: makes a function of its source.
        scratch: blocks of memory that nothing but these operations reads.
        filled: arrays that hold one number, by their `id`.
    """

    def written(run: Sequence[Access], stored: Sequence[View]) -> Operation:
        loop = _Loop(run, filled)
        for view in stored:
            loop.store(view)
        return partial(compiled(loop.text()), *loop.arguments())

    return rewritten(operations, written, scratch=scratch, forms=FORMS, kind=np.ndarray)


def rewritten(
    operations: Sequence[Operation],
    written: Callable[[Sequence[Access], Sequence[View]], Operation],
    *,
    scratch: Iterable[Array],
    forms: Mapping[Any, str],
    kind: type[Any],
) -> list[Operation]:
    """The same program with each run of element-wise operations as one.

    Args:
        operations: a program that is run again and again.
        written: makes one operation of a run, given what of it others read.
        scratch: blocks of memory that nothing but these operations reads.
        forms: the operations that are element-wise, as expressions.
        kind: the arrays' type.
    """
    read = _Reader(forms, kind)
    accesses = [read(operation) for operation in operations]
    blocks = [View(each) for each in scratch]
    fused: list[Operation] = []
    start = 0
    while start < len(accesses):
        stop = _run_end(accesses, start)
        if stop == start:
            fused.append(accesses[start].operation)
            start += 1
            continue
        run, others = accesses[start:stop], accesses[stop:] + accesses[:stop]
        outputs = {this.output.key: this.output for this in run if this.output is not None}
        stored = [view for view in outputs.values() if _needed(view, others, blocks)]
        fused.append(written(run, stored))
        start = stop
    return fused


def _run_end(accesses: Sequence[Access], start: int) -> int:
    """Where the run that begins at `start` ends: other axes, or arrays that overlap in part."""
    frame = accesses[start].frame
    read: list[View] = []
    written: list[View] = []
    for at in range(start, len(accesses)):
        this = accesses[at]
        if this.frame is None or this.output is None or this.frame != frame:
            return at
        read += this.inputs
        if any(each.overlaps(written) for each in this.inputs) or this.output.overlaps(read):
            return at
        written.append(this.output)
        if this.output.overlaps(written):
            return at
    return len(accesses)


def _needed(view: View, following: Iterable[Access], scratch: Iterable[View]) -> bool:
    """Whether the operations that follow, the program being a circle, read what `view` holds."""
    if not any(block.low <= view.low < block.high for block in scratch):
        return True
    for this in following:
        for each in this.inputs:
            if view.touches(each):
                return True
        if this.output is not None and view.touches(this.output):
            return this.output.key != view.key  # overwritten whole, or perhaps in part
    return False


class _Loop:
    """The source of a loop over three axes, and what it is called with."""

    def __init__(self, run: Sequence[Access], filled: Mapping[int, float]) -> None:
        frame = run[0].frame or Frame(False, ())
        self._swapped, self._shape, self._filled = frame.swapped, frame.shape, filled
        size = math.prod(self._shape)
        views = [view for this in run for view in (*this.inputs, this.output) if view is not None]
        if not self._swapped and all(
            view.array.ndim == 0
            or id(view.array) in filled
            or (view.array.size == size and view.array.flags.c_contiguous)
            for view in views
        ):
            self._shape = (1, 1, size)
        self._header: list[str] = []
        self._rows: list[str] = []
        self._body: list[str] = []
        self._parameters: list[str] = []
        self._arguments: list[Any] = []
        self._places: dict[Key, str] = {}
        self._values: dict[Key, str] = {}
        for number, this in enumerate(run):
            operands = [self._value(each) for each in this.inputs]
            if this.form is None or this.output is None:
                raise ValueError("only operations that can be fused make a run")
            kind = _type(this.output)
            self._body.append(f"y{number} = {kind}({this.form.format(*operands)})")
            self._values[this.output.key] = f"y{number}"

    def store(self, view: View) -> None:
        """Has the loop write what it has computed for `view`."""
        self._body.append(f"{self._place(view)} = {self._values[view.key]}")

    def text(self) -> str:
        """The function's source."""
        lines = [f"def loop(R, N, D, {', '.join(self._parameters)}):"]
        lines += [f"    {line}" for line in self._header]
        lines += ["    for r in range(R):", "        for n in range(N):"]
        lines += [f"            {line}" for line in self._rows]
        lines += ["            for d in range(D):"]
        lines += [f"                {line}" for line in self._body]
        return "\n".join(lines) + "\n"

    def arguments(self) -> list[Any]:
        """What `text` is to be called with."""
        return [np.uint64(length) for length in self._shape] + self._arguments

    def _value(self, view: View) -> str:
        """A name or a literal for the element of `view` at hand."""
        if id(view.array) in self._filled:
            return f"{_type(view)}({self._filled[id(view.array)]!r})"
        if view.key not in self._values:
            name = f"x{len(self._values)}_{len(self._body)}"
            self._body.append(f"{name} = {self._place(view)}")
            self._values[view.key] = name
        return self._values[view.key]

    def _place(self, view: View) -> str:
        """The expression of the element of `view` at hand; makes it a parameter of the loop."""
        if view.key in self._places:
            return self._places[view.key]
        number = len(self._parameters)
        if view.array.ndim == 0:
            self._parameters.append(f"a{number}")
            self._arguments.append(view.array)
            self._header.append(f"v{number} = a{number}[()]")
            place = f"v{number}"
        else:
            whole = self._shape == (1, 1, view.array.size)
            array = view.array.reshape(self._shape) if whole else view.oriented(self._swapped)
            steps = [
                0 if length == 1 else stride // array.itemsize
                for length, stride in zip(array.shape, array.strides, strict=True)
            ]
            self._parameters.append(f"a{number}, r{number}, n{number}")
            self._arguments += [_span(array, steps), np.uint64(steps[0]), np.uint64(steps[1])]
            self._rows.append(f"i{number} = r * r{number} + n * n{number}")
            place = f"a{number}[i{number} + d]" if steps[2] else f"a{number}[i{number}]"
        self._places[view.key] = place
        return place


def _span(array: Array, steps: Sequence[int]) -> Array:
    """All memory from the first to the last element, as one axis."""
    last = sum(step * (length - 1) for step, length in zip(steps, array.shape, strict=True))
    return np.lib.stride_tricks.as_strided(array, (last + 1,), (array.itemsize,))


def _type(view: View) -> str:
    return "bool_" if view.array.dtype == bool else str(view.array.dtype.name)
