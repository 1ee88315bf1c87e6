"""Corners of a search space: plain configurations at the extreme values of its parameters."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from sweep.spec import space


def first(template: Mapping[str, Any]) -> dict[str, Any]:
    """The plain configuration with every parameter at its first value."""
    plain: dict[str, Any] = space.resolve(template, lambda each: _ends(each)[0])
    return plain


def corners(template: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Plain configurations in which every two extreme values of parameters meet once."""
    for pair in itertools.combinations([{}, {}, *_extremes(template)], 2):
        fixed = pair[0] | pair[1]
        yield space.resolve(template, lambda each: fixed.get(each.name, _ends(each)[0]))  # noqa: B023


def _extremes(template: Any) -> Iterator[dict[str, space.Scalar]]:
    """The ends of every parameter, each with the choices that lead to it."""
    match template:
        case space.Range():
            yield from ({template.name: end} for end in _ends(template))
        case space.Choose():
            for label, option in zip(template.labels, template.options, strict=True):
                here = {template.name: label}
                yield from ({**here, **below} for below in [{}, *_extremes(option)])
        case dict() | list():
            for part in template.values() if isinstance(template, dict) else template:
                yield from _extremes(part)


def _ends(parameter: space.Parameter) -> list[space.Scalar]:
    if isinstance(parameter, space.Choose):
        return list(parameter.labels)
    return [parameter.low, parameter.high]
