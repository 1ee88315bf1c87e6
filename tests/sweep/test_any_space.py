"""Any search space that can be written for the trainer's configuration."""

import math
from collections.abc import Mapping
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from sweep.spec.space import (
    Choose,
    Parameter,
    Range,
    Scalar,
    cells,
    count,
    flatten,
    parameters,
    resolve,
)
from sweep.spec.study_file import compact
from tests.sweep.spaces import CONFIG, chosen, template
from trainer.config import Config
from trainer.reading import read
from trainer.rules import (
    REQUIRED,
    Choice,
    Flag,
    Integer,
    Items,
    Optional,
    Problem,
    Real,
    Rule,
    Section,
    Setting,
    Text,
    build,
    settings,
)


def written(rule: Rule) -> st.SearchStrategy[Any]:
    """What may stand in a study file under a rule: plain values and distributions."""
    plain = values(rule)
    choose = st.lists(plain, min_size=1, max_size=3, unique_by=compact).map(
        lambda options: {"choose": options}
    )
    if isinstance(rule, Real | Integer):
        return plain | ranges(rule) | choose
    return plain | choose


def values(rule: Rule) -> st.SearchStrategy[Any]:
    match rule:
        case Real():
            return numbers(rule)
        case Integer():
            return st.integers(rule.low, min(rule.low + 9, rule.high or rule.low + 9))
        case Choice():
            return st.one_of([techniques(name, rule.options[name]) for name in rule.options])
        case Optional():
            return st.none() | values(rule.of)
        case Items():
            return st.lists(written(rule.of), min_size=rule.least, max_size=2)
        case Section():
            entries = settings(rule.of).items()
            made = {name: written(entry.rule) for name, entry in entries}
            needed = {name for name, entry in entries if entry.default is REQUIRED}
            return st.fixed_dictionaries(
                {name: made[name] for name in needed},
                optional={name: each for name, each in made.items() if name not in needed},
            )
        case Text():
            return st.sampled_from(["a.npz", "models:/b@champion", "c: d"])
        case Flag():
            return st.booleans()
    raise AssertionError(f"the trainer has no such rule: {rule}")


def numbers(rule: Real) -> st.SearchStrategy[float]:
    """Numbers of three decimals inside the bounds, none of them negative zero."""
    low, high = max(rule.low, -5.0), min(rule.high, 5.0)
    thousandths = st.integers(math.ceil(low * 1000), math.floor(high * 1000))
    return thousandths.map(lambda n: n / 1000).filter(
        lambda number: (
            (number > rule.low or not rule.open_low) and (number < rule.high or not rule.open_high)
        )
    )


def techniques(name: str, entries: Mapping[str, Setting]) -> st.SearchStrategy[Any]:
    needed = {key: written(each.rule) for key, each in entries.items() if each.default is REQUIRED}
    others = {key: written(each.rule) for key, each in entries.items() if key not in needed}
    given = st.fixed_dictionaries(needed, optional=others).map(lambda inner: {name: inner})
    return given if needed else st.just(name) | given


@st.composite
def ranges(draw: st.DrawFn, rule: Real | Integer) -> dict[str, Any]:
    low, high = sorted(draw(st.lists(values(rule), min_size=2, max_size=2, unique=True)))
    found: dict[str, Any] = {"low": low, "high": high}
    if low > 0 and draw(st.booleans()):
        found["log"] = True
    elif draw(st.booleans()):
        width = high - low if isinstance(rule, Integer) else round(high - low, 3)
        found["step"] = width
    return found


STUDY_VALUES = values(CONFIG)


@given(STUDY_VALUES, st.randoms(use_true_random=False))
def test_every_suggestion_gives_a_configuration(found: Any, random: Any) -> None:
    space = template(CONFIG, found, "")
    names = [parameter.name for parameter in parameters(space)]
    assert len(set(names)) == len(names)
    asked = {}

    def suggest(parameter: Parameter) -> Scalar:
        assert parameter.name not in asked
        if isinstance(parameter, Choose):
            value: Scalar = random.choice(parameter.labels)
        elif parameter.integer:
            value = random.choice(list(parameter.points() or ()))
        else:
            value = random.choice([parameter.low, parameter.high])
        asked[parameter.name] = value
        return value

    tree = resolve(space, suggest)
    assert set(asked) <= set(names)
    problems: list[Problem] = []
    assert read(CONFIG, tree, "", problems) == tree
    assert not problems
    assert isinstance(build(Config, tree), Config)
    assert resolve(space, chosen(asked)) == tree
    flat = flatten(CONFIG, tree)
    assert all(value is None or isinstance(value, int | float | str) for value in flat.values())
    for parameter in parameters(space):
        if isinstance(parameter, Range) and parameter.name in asked and parameter.name in flat:
            assert flat[parameter.name] == asked[parameter.name]


def product_rule(space: Any) -> int:
    match space:
        case Range():
            return len(list(space.points() or ()))
        case Choose():
            return sum(map(product_rule, space.options))
        case dict():
            return math.prod(map(product_rule, space.values()))
        case list():
            return math.prod(map(product_rule, space))
    return 1


@given(STUDY_VALUES)
def test_cells_are_all_combinations(found: Any) -> None:
    space = template(CONFIG, found, "")
    endless = [each for each in parameters(space) if each.points() is None]
    assume(not endless)
    expected = product_rule(space)
    assert count(space) == expected
    assume(expected <= 500)
    listed = list(cells(space))
    assert len(listed) == expected
    assert len({tuple(cell.items()) for cell in listed}) == expected
    for cell in listed:
        left = dict(cell)
        tree = resolve(space, lambda parameter: left.pop(parameter.name))  # noqa: B023
        assert not left
        problems: list[Problem] = []
        assert read(CONFIG, tree, "", problems) == tree
        assert not problems
