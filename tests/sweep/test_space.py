import math
from typing import Any

import pytest

from sweep.spec.space import (
    MOST_STEPS,
    Choose,
    Parameter,
    Range,
    cells,
    count,
    distribution,
    flatten,
    parameters,
    resolve,
)
from tests.sweep.spaces import CONFIG, chosen, template
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
    section,
    setting,
)

RATE = Real(0, 1, open_high=True)
KIND = Choice(
    {
        "plain": {},
        "sloped": {"alpha": Setting(0.1, Real(0), "")},
        "pieced": {"pieces": Setting(REQUIRED, Integer(2), "")},
    }
)


@section
class Dropout:
    """A section that a bare rate may stand for."""

    rate: float = setting(0.0, RATE, "")
    each: bool = setting(False, Flag(), "")


def mistakes(rule: Rule, found: Any) -> list[str]:
    problems: list[Problem] = []
    read(rule, found, "x", problems, distribution)
    return list(map(str, problems))


# Distributions in the place of values


@pytest.mark.parametrize(
    ("rule", "found", "expected"),
    [
        (RATE, {"low": 0, "high": 0.5}, Range("x", 0.0, 0.5)),
        (Real(), {"low": 1e-3, "high": 1, "log": True}, Range("x", 1e-3, 1.0, log=True)),
        (RATE, {"low": 0.1, "high": 0.7, "step": 0.1}, Range("x", 0.1, 0.7, step=0.1)),
        (Integer(1), {"low": 1, "high": 9.0}, Range("x", 1, 9, integer=True)),
        (Integer(1), {"low": 2, "high": 8, "step": 3}, Range("x", 2, 8, step=3, integer=True)),
        (Optional(RATE), {"low": 0, "high": 0.5}, Range("x", 0.0, 0.5)),
        (RATE, {"choose": [0, 0.5]}, Choose("x", (0, 0.5), (0.0, 0.5))),
        (Flag(), {"choose": [True, False]}, Choose("x", (True, False), (True, False))),
        (Text(), {"choose": ["a"]}, Choose("x", ("a",), ("a",))),
        (Optional(Integer(1)), {"choose": [None, 3]}, Choose("x", (None, 3), (None, 3))),
    ],
)
def test_a_distribution_stands_for_a_value(rule: Rule, found: Any, expected: Parameter) -> None:
    assert template(rule, found) == expected


def test_a_mapping_that_is_no_distribution_is_left_to_the_rule() -> None:
    assert template(KIND, {"sloped": {"alpha": 2}}) == {"sloped": {"alpha": 2.0}}
    assert mistakes(RATE, {"a": 1}) == ["x: must be a number, got {'a': 1}"]


def test_distributions_in_a_list() -> None:
    found = template(Items(Integer(1)), [64, {"low": 8, "high": 32}, {"choose": [1, 2]}])
    assert found == [
        64,
        Range("x.1", 8, 32, integer=True),
        Choose("x.2", (1, 2), (1, 2)),
    ]


def test_lists_to_choose_from() -> None:
    found = template(Items(Integer(1)), {"choose": [[64], [64, {"low": 8, "high": 32}]]})
    assert found.labels == ("[64]", "[64, {low: 8, high: 32}]")
    assert [each.name for each in parameters(found)] == ["x", "x.1.1"]
    assert resolve(found, chosen({"x": "[64, {low: 8, high: 32}]", "x.1.1": 9})) == [64, 9]
    assert resolve(found, chosen({"x": "[64]"})) == [64]


def test_a_technique_carries_its_own_parameters() -> None:
    found = template(
        KIND,
        {
            "choose": [
                "plain",
                {"sloped": {"alpha": {"low": 0, "high": 1}}},
                {"pieced": {"pieces": 2}},
            ]
        },
    )
    assert found.labels == ("plain", "sloped", "pieced")
    assert [each.name for each in parameters(found)] == ["x", "x.sloped.alpha"]
    assert resolve(found, chosen({"x": "plain"})) == "plain"
    assert resolve(found, chosen({"x": "pieced"})) == {"pieced": {"pieces": 2}}
    assert resolve(found, chosen({"x": "sloped", "x.sloped.alpha": 0.5})) == {
        "sloped": {"alpha": 0.5}
    }


def test_one_technique_twice_has_parameters_of_two_names() -> None:
    found = template(
        KIND,
        {
            "choose": [
                "sloped",
                {"sloped": {"alpha": {"low": 0, "high": 1}}},
                {"sloped": {"alpha": {"low": 5, "high": 9}}},
            ]
        },
    )
    assert found.labels == (
        "sloped",
        "{sloped: {alpha: {low: 0, high: 1}}}",
        "{sloped: {alpha: {low: 5, high: 9}}}",
    )
    first, second = parameters(found)[1:]
    assert (first.name, second.name) == ("x.1.sloped.alpha", "x.2.sloped.alpha")
    values = {"x": found.labels[2], "x.2.sloped.alpha": 7.0}
    assert resolve(found, chosen(values)) == {"sloped": {"alpha": 7.0}}


def test_a_choice_within_a_choice_has_a_name_of_its_own() -> None:
    found = template(KIND, {"choose": ["plain", {"choose": ["sloped", {"pieced": {"pieces": 2}}]}]})
    outer, inner = parameters(found)
    assert (outer.name, inner.name) == ("x", "x.1")
    assert resolve(found, chosen({"x": found.labels[1], "x.1": "pieced"})) == {
        "pieced": {"pieces": 2}
    }


def test_a_range_within_a_choice() -> None:
    found = template(RATE, {"choose": [0, {"low": 0.1, "high": 0.5}]})
    assert parameters(found)[1] == Range("x.1", 0.1, 0.5)
    assert resolve(found, chosen({"x": "{low: 0.1, high: 0.5}", "x.1": 0.3})) == 0.3


def test_a_distribution_of_a_shorthand() -> None:
    rule = Section(Dropout, shorthand="rate")
    assert template(rule, {"low": 0, "high": 0.5}) == {
        "rate": Range("x", 0.0, 0.5),
        "each": False,
    }
    assert template(rule, {"rate": {"low": 0, "high": 0.5}, "each": {"choose": [True, False]}}) == {
        "rate": Range("x", 0.0, 0.5),
        "each": Choose("x.each", (True, False), (True, False)),
    }
    found = template(rule, {"choose": [0.1, {"rate": 0.2, "each": True}]})
    assert resolve(found, chosen({"x": 0.1})) == {"rate": 0.1, "each": False}
    assert resolve(found, chosen({"x": found.labels[1]})) == {"rate": 0.2, "each": True}


def test_labels_keep_their_type() -> None:
    found = template(Optional(Real()), {"choose": [None, 1, 2.5]})
    assert [type(label) for label in found.labels] == [type(None), int, float]
    assert resolve(found, chosen({"x": None})) is None


@pytest.mark.parametrize(
    ("rule", "found", "message"),
    [
        (RATE, {"low": 0.5, "high": 0.5}, "x: low must be below high, got {'low'"),
        (RATE, {"low": 0.6, "high": 0.5}, "x: low must be below high, got"),
        (RATE, {"low": 0, "high": 0.5, "log": True}, "x: a log range must start above 0, got"),
        (RATE, {"low": 0, "high": 1}, "x.high: must lie in [0, 1), got 1"),
        (RATE, {"low": 0, "high": "1"}, "x.high: must be a number, got '1'"),
        (RATE, {"low": math.nan, "high": 0.5}, "x.low: must be a finite number, got nan"),
        (Integer(1), {"low": 0.5, "high": 2}, "x.low: must be a whole number, got 0.5"),
        (RATE, {"low": 0}, "x.high: is missing"),
        (RATE, {"high": 0.5}, "x.low: is missing"),
        (
            RATE,
            {"low": 0, "high": 0.5, "lgo": True},
            "x.lgo: is not a part of a range; its parts are low, high, log, step",
        ),
        (RATE, {"low": 0, "high": 0.5, "log": 1}, "x.log: must be true or false, got 1"),
        (RATE, {"low": 0, "high": 0.5, "step": 0}, "x.step: must be above 0, got 0"),
        (RATE, {"low": 0, "high": 0.5, "step": "a"}, "x.step: must be a number, got 'a'"),
        (Integer(1), {"low": 1, "high": 5, "step": 1.5}, "x.step: must be a whole number, got 1.5"),
        (RATE, {"low": 0, "high": 0.5, "step": 0.3}, "x: step must divide the way from low to"),
        (RATE, {"low": 0, "high": 0.5, "step": 1e12}, "x: step must divide the way from low to"),
        (RATE, {"low": 0, "high": 0.9, "step": 0.29999999999}, "x: step must divide the way"),
        (Integer(1), {"low": 1, "high": 6, "step": 2}, "x: step must divide the way from low to"),
        (Real(), {"low": 0, "high": 1e9, "step": 1e-30}, f"x: takes at most {MOST_STEPS} steps"),
        (Integer(1), {"low": 1, "high": 1e300}, f"x: takes at most {MOST_STEPS} steps"),
        (
            Real(),
            {"low": 1, "high": 4, "step": 1, "log": True},
            "x: takes log or step, not both, got",
        ),
        (RATE, {"choose": []}, "x.choose: must be a list of options, got []"),
        (RATE, {"choose": None}, "x.choose: must be a list of options, got null"),
        (RATE, {"choose": 0.5}, "x.choose: must be a list of options, got 0.5"),
        (RATE, {"choose": [0.5, 0.5]}, "x.choose: has the same option twice, got [0.5, 0.5]"),
        (Real(), {"choose": [1, 1.0]}, "x.choose: has the same option twice"),
        (KIND, {"choose": ["plain", "plain"]}, "x.choose: has the same option twice"),
        (
            KIND,
            {"choose": [{"sloped": {"alpha": 1}}, {"sloped": {"alpha": 1}}]},
            "x.choose: has the same option twice",
        ),
        (RATE, {"choose": [0.1, 1.5]}, "x: must lie in [0, 1), got 1.5"),
        (RATE, {"choose": [0.1], "low": 0}, "x: choose stands alone in its mapping, got"),
        (
            KIND,
            {"choose": ["plian"]},
            "x: must be one of plain, sloped, pieced (did you mean plain?",
        ),
        (KIND, {"choose": ["pieced"]}, "x.pieced.pieces: is missing"),
        (KIND, {"low": 0, "high": 1}, "x: is not a number, so it takes {choose: [...]}, got"),
        (Flag(), {"low": 0, "high": 1}, "x: is not a number, so it takes {choose: [...]}, got"),
        (Items(Real()), {"low": 0, "high": 1}, "x: is not a number, so it takes {choose: [...]}"),
    ],
)
def test_a_mistake_in_a_distribution(rule: Rule, found: Any, message: str) -> None:
    (mistake,) = mistakes(rule, found)
    assert mistake.startswith(message)


def test_all_mistakes_of_a_distribution_are_told() -> None:
    assert [mistake.partition(":")[0] for mistake in mistakes(RATE, {"low": -1, "lgo": 3})] == [
        "x.lgo",
        "x.low",
        "x.high",
    ]


# Points and cells


def test_points_are_what_a_person_would_write() -> None:
    assert Range("x", 0.1, 0.7, step=0.1).points() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert list(Range("x", 2, 8, step=3, integer=True).points() or ()) == [2, 5, 8]
    assert list(Range("x", 1, 4, log=True, integer=True).points() or ()) == [1, 2, 3, 4]
    assert Range("x", 0.1, 0.7).points() is None
    assert list(Choose("x", ("a", None), (1, 2)).points()) == ["a", None]


def test_cells_come_in_the_order_of_the_file() -> None:
    found = template(
        Items(KIND),
        [
            {"choose": ["plain", {"pieced": {"pieces": {"low": 2, "high": 3}}}]},
            {"choose": ["plain"]},
        ],
    )
    assert list(cells(found)) == [
        {"x.0": "plain", "x.1": "plain"},
        {"x.0": "pieced", "x.0.pieced.pieces": 2, "x.1": "plain"},
        {"x.0": "pieced", "x.0.pieced.pieces": 3, "x.1": "plain"},
    ]
    assert count(found) == 3


def test_a_template_without_distributions_has_one_cell() -> None:
    assert list(cells(template(CONFIG, {}, ""))) == [{}]
    assert count(template(CONFIG, {}, "")) == 1


@pytest.mark.parametrize("within", [{}, {"a": Choose("c", (1, 2), (1, Range("e", 0, 1)))}])
def test_endless_values_cannot_be_listed(within: dict[str, Any]) -> None:
    endless = {**within, "b": Range("e", 0.0, 1.0)}
    with pytest.raises(ValueError, match=r"^e$"):
        list(cells(endless))
    with pytest.raises(ValueError, match=r"^e$"):
        count(endless)


def test_a_design_too_large_to_be_listed_is_counted() -> None:
    found = {f"p{n}": Range(f"p{n}", 0, 9, integer=True) for n in range(50)}
    assert count(found) == 10**50


# Flat configurations


def test_a_flat_configuration() -> None:
    tree = read(
        CONFIG,
        {
            "model": {"hidden": [3, 4], "activation": {"elu": {"alpha": 0.5}}},
            "training": {"early_stopping": {"patience": 2}},
        },
        "",
        [],
    )
    flat = flatten(CONFIG, tree)
    assert flat["model.hidden"] == "[3, 4]"
    assert flat["model.activation"] == "elu"
    assert flat["model.activation.elu.alpha"] == 0.5
    assert flat["model.dropout"] == 0
    assert flat["model.dropout.kind"] == "inverted"
    assert "model.dropout.rate" not in flat
    assert flat["training.early_stopping.patience"] == 2
    assert flat["training.early_stopping.monitor"] == "val_loss"
    assert flat["training.epochs"] == 27
    assert "training.early_stopping" not in flat
    assert flatten(CONFIG, read(CONFIG, {}, "", []))["training.early_stopping"] is None
