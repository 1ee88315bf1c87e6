"""Search spaces as a study file has them, read by the rule that they stand under."""

from collections.abc import Mapping
from typing import Any

from sweep.spec.space import Scalar, distribution
from trainer.config import Config
from trainer.reading import read
from trainer.rules import Problem, Rule, Section

CONFIG = Section(Config)


def template(rule: Rule, found: Any, path: str = "x") -> Any:
    problems: list[Problem] = []
    tree = read(rule, found, path, problems, distribution)
    assert not problems, problems
    return tree


def chosen(values: Mapping[str, Scalar]) -> Any:
    return lambda parameter: values[parameter.name]
