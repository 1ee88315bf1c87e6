"""Runs of element-wise operations on a GPU, one kernel each, which CuPy compiles.

The same runs that `fusion` finds become bodies of `cupy.ElementwiseKernel`, which looks after axes
and strides. Its compiler may contract a product and a sum, so the last bit can differ.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from trainer.arrays import Array
from trainer.fusion import Access, Key, Operation, View, rewritten

FORMS: Mapping[str, str] = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "maximum": "({0} > {1}) || ({0} != {0}) ? {0} : {1}",
    "minimum": "({0} < {1}) || ({0} != {0}) ? {0} : {1}",
    "negative": "-{0}",
    "absolute": "({0} < 0) ? -{0} : {0}",
    "sqrt": "sqrt({0})",
    "exp": "exp({0})",
    "expm1": "expm1({0})",
    "log": "log({0})",
    "log1p": "log1p({0})",
    "tanh": "tanh({0})",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "equal": "{0} == {1}",
    "right_shift": "{0} >> {1}",
    "bitwise_xor": "{0} ^ {1}",
    "copyto": "{0}",
}
"""The operations that can be fused, by name, as expressions of one number each."""

TYPES: Mapping[str, str] = {
    "bool": "bool",
    "uint16": "unsigned short",
    "int64": "long long",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
}

Kernel = Callable[[str, str, str], Callable[..., Any]]
"""Makes a kernel of its inputs, its outputs and its body."""


def fuse(
    operations: Sequence[Operation],
    library: Any,
    kernel: Kernel,
    *,
    kind: type[Any],
    scratch: Iterable[Array],
    filled: Mapping[int, float],
) -> list[Operation]:
    """The same program with its runs of element-wise operations as kernels.

    Args:
        operations: a program that is run again and again.
        library: whose functions they are.
        kernel: makes a kernel.
        kind: the arrays' type.
        scratch: blocks of memory that nothing but these operations reads.
        filled: arrays that hold one number, by their `id`.
    """

    def written(run: Sequence[Access], stored: Sequence[View]) -> Operation:
        body = Body(run, stored, filled)
        return partial(kernel(*body.text()), *body.arguments())

    forms = {getattr(library, name): form for name, form in FORMS.items()}
    return rewritten(operations, written, scratch=scratch, forms=forms, kind=kind)


class Body:
    """The source of a kernel for a run of operations, and what it is called with."""

    def __init__(
        self, run: Sequence[Access], stored: Sequence[View], filled: Mapping[int, float]
    ) -> None:
        self._filled, self._stored = filled, stored
        self._inputs: list[View] = []
        self._values: dict[Key, str] = {}
        self._lines: list[str] = []
        for number, this in enumerate(run):
            if this.form is None or this.output is None:
                raise ValueError("only operations that can be fused make a run")
            expression = this.form.format(*map(self._value, this.inputs))
            kind = TYPES[this.output.array.dtype.name]
            self._lines.append(f"const {kind} y{number} = ({kind})({expression});")
            self._values[this.output.key] = f"y{number}"
        self._lines += [f"b{at} = {self._values[each.key]};" for at, each in enumerate(stored)]

    def text(self) -> tuple[str, str, str]:
        """The kernel's inputs, outputs and body."""
        return _parameters("a", self._inputs), _parameters("b", self._stored), self._joined()

    def arguments(self) -> list[Array]:
        """What the kernel is to be called with: inputs and outputs, all with three axes."""
        return [view.oriented(swapped=False) for view in (*self._inputs, *self._stored)]

    def _value(self, view: View) -> str:
        if id(view.array) in self._filled:
            kind = TYPES[view.array.dtype.name]
            return f"(({kind})({self._filled[id(view.array)]!r}))"
        if view.key not in self._values:
            self._values[view.key] = f"a{len(self._inputs)}"
            self._inputs.append(view)
        return self._values[view.key]

    def _joined(self) -> str:
        return "\n".join(self._lines)


def _parameters(letter: str, views: Sequence[View]) -> str:
    return ", ".join(f"{view.array.dtype.name} {letter}{at}" for at, view in enumerate(views))
