import dataclasses
import math
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.reading import UNREAD, check, read
from trainer.rules import (
    REQUIRED,
    Anything,
    Choice,
    ConfigError,
    Flag,
    Integer,
    Items,
    Optional,
    Problem,
    Real,
    Rule,
    Section,
    Setting,
    Technique,
    Text,
    build,
    section,
    setting,
)

SHAPES = Choice(
    {
        "point": {},
        "circle": {"radius": Setting(1.0, Real(0, open_low=True), "")},
        "polygon": {"sides": Setting(REQUIRED, Integer(3), "")},
    }
)


@section
class Pen:
    """A part of another section."""

    width: float = setting(1, Real(0, 10, open_low=True), "")
    colour: str = setting("black", Text(r"[a-z]+", "a word"), "")


@section
class Drawing:
    """Has a field of every kind."""

    title: str = setting(REQUIRED, Text(), "")
    shape: Technique = setting("circle", SHAPES, "")
    pen: Pen = setting(None, Section(Pen, shorthand="width"), "")
    spare: Pen | None = setting(None, Optional(Section(Pen)), "")
    copies: int = setting(1, Integer(1, 9), "")
    points: tuple[float, ...] = setting((), Items(Real()), "")
    filled: bool = setting(False, Flag(), "")
    note: Any = setting(None, Anything(), "")


def mistakes(rule: Rule, found: Any) -> list[str]:
    problems: list[Problem] = []
    read(rule, found, "field", problems)
    return list(map(str, problems))


def test_defaults_are_filled_in() -> None:
    assert check(Drawing, {"title": "a"}) == Drawing(
        title="a",
        shape=Technique("circle", {"radius": 1.0}),
        pen=Pen(1.0, "black"),
        spare=None,
        copies=1,
        points=(),
        filled=False,
        note=None,
    )


def test_given_values_take_the_place_of_defaults() -> None:
    found = check(
        Drawing,
        {
            "title": "a",
            "shape": {"polygon": {"sides": 5.0}},
            "pen": {"colour": "red"},
            "spare": {"width": 2},
            "copies": 3,
            "points": [1, 2.5],
            "filled": True,
            "note": {"any": ["thing"]},
        },
    )
    assert found.shape == Technique("polygon", {"sides": 5})
    assert found.shape["sides"] == 5
    assert found.pen == Pen(1.0, "red")
    assert found.spare == Pen(2.0, "black")
    assert found.points == (1.0, 2.5)
    assert (found.copies, found.filled, found.note) == (3, True, {"any": ["thing"]})


def test_numbers_get_the_type_of_their_rule() -> None:
    found = check(Drawing, {"title": "a", "copies": 2.0, "points": [1]})
    assert type(found.copies) is int
    assert type(found.points[0]) is float


def test_a_shorthand_stands_for_a_section() -> None:
    assert check(Drawing, {"title": "a", "pen": 3}).pen == Pen(3.0, "black")


@pytest.mark.parametrize("pen", [None, {}])
def test_an_empty_section_has_its_defaults(pen: Any) -> None:
    assert check(Drawing, {"title": "a", "pen": pen}).pen == Pen(1.0, "black")


@pytest.mark.parametrize("shape", ["circle", {"circle": None}, {"circle": {}}])
def test_ways_to_write_a_technique(shape: Any) -> None:
    assert check(Drawing, {"title": "a", "shape": shape}).shape == Technique(
        "circle", {"radius": 1.0}
    )


@pytest.mark.parametrize(
    ("rule", "found", "message"),
    [
        (Real(), "1e-3x", "field: must be a number, got '1e-3x'"),
        (Real(), True, "field: must be a number, got True"),
        (Real(), None, "field: must be a number, got null"),
        (Real(), [1], "field: must be a number, got [1]"),
        (Real(), math.nan, "field: must be a finite number, got nan"),
        (Real(), math.inf, "field: must be a finite number, got inf"),
        (Real(0, 1, open_high=True), 1, "field: must lie in [0, 1), got 1"),
        (Real(0, 1, open_low=True), 0, "field: must lie in (0, 1], got 0"),
        (Real(0, 1), -0.1, "field: must lie in [0, 1], got -0.1"),
        (Real(0), -1, "field: must be at least 0, got -1"),
        (Real(0, open_low=True), 0, "field: must be above 0, got 0"),
        (Real(high=5), 6, "field: must be at most 5, got 6"),
        (Real(high=5, open_high=True), 5, "field: must be below 5, got 5"),
        (Integer(1), 0, "field: must be at least 1, got 0"),
        (Integer(1, 9), 10, "field: must be at least 1 and at most 9, got 10"),
        (Integer(1), 1.5, "field: must be a whole number, got 1.5"),
        (Integer(1), math.nan, "field: must be a whole number, got nan"),
        (Integer(1), math.inf, "field: must be a whole number, got inf"),
        (Integer(1), False, "field: must be a whole number, got False"),
        (Flag(), "yes", "field: must be true or false, got 'yes'"),
        (Flag(), 1, "field: must be true or false, got 1"),
        (Text(), "", "field: must be text, got ''"),
        (Text(), 3, "field: must be text, got 3"),
        (Text("[a-z]+", "a word"), "a\n", "field: must be a word, got 'a\\n'"),
        (Items(Real()), 3, "field: must be a list, got 3"),
        (Items(Real()), "abc", "field: must be a list, got 'abc'"),
        (Items(Real(), 2), [1], "field: must be a list of at least 2, got [1]"),
        (Items(Real()), [1, "x"], "field.1: must be a number, got 'x'"),
        (SHAPES, "cirlce", "field: must be one of point, circle, polygon (did you mean circle?)"),
        (SHAPES, "zzz", "field: must be one of point, circle, polygon, got 'zzz'"),
        (SHAPES, 3, "field: must be one of point, circle, polygon, got 3"),
        (SHAPES, None, "field: must be one of point, circle, polygon, got null"),
        (SHAPES, {}, "field: must be one of point, circle, polygon, got {}"),
        (SHAPES, {"point": {}, "circle": {}}, "field: must be one of point, circle, polygon, got"),
        (SHAPES, "polygon", "field.polygon.sides: is missing"),
        (SHAPES, {"circle": 3}, "field.circle: must be a mapping of fields, got 3"),
        (
            SHAPES,
            {"circle": {"radis": 3}},
            "field.circle.radis: is not a field (did you mean radius?)",
        ),
        (SHAPES, {"point": {"x": 3}}, "field.point.x: is not a field; known here: nothing"),
        (Section(Pen), 3, "field: must be a mapping of fields, got 3"),
        (Section(Pen), [3], "field: must be a mapping of fields, got [3]"),
        (Section(Pen), {"colr": 3}, "field.colr: is not a field (did you mean colour?)"),
        (Section(Pen), {"zzz": 3}, "field.zzz: is not a field; known here: width, colour"),
        (Section(Pen, shorthand="width"), "x", "field.width: must be a number, got 'x'"),
        (Optional(Real()), "x", "field: must be a number, got 'x'"),
    ],
)
def test_a_mistake_is_told_by_path_rule_and_value(rule: Rule, found: Any, message: str) -> None:
    (mistake,) = mistakes(rule, found)
    assert mistake.startswith(message)


@pytest.mark.parametrize("rule", [Real(), Real(0, 1), Integer(1, 9)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_whole_number_too_large_for_a_float_is_a_mistake(rule: Rule, sign: int) -> None:
    (mistake,) = mistakes(rule, sign * 10**400)
    assert mistake.startswith("field: must")
    assert len(mistake) < 150


def test_bounds_themselves() -> None:
    assert not mistakes(Real(0, 1), 0)
    assert not mistakes(Real(0, 1), 1)
    assert not mistakes(Real(0, 1, open_high=True), 0)
    assert not mistakes(Integer(1, 9), 1)
    assert not mistakes(Integer(1, 9), 9)


def test_all_mistakes_are_found_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check(
            Drawing,
            {
                "titel": "a",
                "shape": {"circle": {"radius": -1}},
                "pen": {"width": 11, "colour": ""},
                "points": [0, "x", math.nan],
                "copies": 0,
            },
            "drawing",
        )
    assert str(caught.value).splitlines() == [
        "drawing.titel: is not a field (did you mean title?)",
        "drawing.title: is missing",
        "drawing.shape.circle.radius: must be above 0, got -1",
        "drawing.pen.width: must lie in (0, 10], got 11",
        "drawing.pen.colour: must be a word, got ''",
        "drawing.copies: must be at least 1 and at most 9, got 0",
        "drawing.points.1: must be a number, got 'x'",
        "drawing.points.2: must be a finite number, got nan",
    ]
    assert caught.value.problems[0].path == "drawing.titel"


def test_a_long_value_is_cut_short_in_the_message() -> None:
    (mistake,) = mistakes(Real(), list(range(1000)))
    assert mistake.endswith("...")
    assert len(mistake) < 120


def test_a_config_error_crosses_a_process_border() -> None:
    error = ConfigError([Problem("a.b", "must be c", 3), Problem("", "alone")])
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert str(again) == str(error) == "a.b: must be c, got 3\nalone"
    assert again.problems[0] == error.problems[0]


def test_a_default_that_is_shared_and_mutable_is_refused() -> None:
    with pytest.raises(TypeError, match="must be immutable"):
        setting([], Items(Real()), "")


def test_sections_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        check(Drawing, {"title": "a"}).title = "b"  # type: ignore[misc]


def test_a_special_reader_sees_every_node_first() -> None:
    seen = []

    def special(rule: Rule, found: Any, path: str, problems: list[Problem]) -> Any:
        seen.append(path)
        return "taken" if path == "drawing.pen.width" else UNREAD

    problems: list[Problem] = []
    tree = read(Section(Drawing), {"title": "a", "points": [1]}, "drawing", problems, special)
    assert not problems
    assert tree["pen"] == {"width": "taken", "colour": "black"}
    fields = ["title", "shape", "shape.circle.radius", "pen", "pen.width", "pen.colour"]
    fields += ["spare", "copies", "points", "points.0", "filled", "note"]
    assert seen == ["drawing", *(f"drawing.{name}" for name in fields)]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([field.name for field in dataclasses.fields(Drawing)])
            | st.sampled_from(["width", "circle", "polygon", "sides", "radius", "low"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JUNK)
def test_anything_is_either_read_or_a_config_error(found: Any) -> None:
    problems: list[Problem] = []
    tree = read(Section(Drawing), found, "", problems)
    if problems:
        with pytest.raises(ConfigError, match=re.escape(str(problems[-1]))):
            check(Drawing, found)
    else:
        assert check(Drawing, found) == build(Drawing, tree)


@given(JUNK)
def test_what_was_read_is_read_again_unchanged(found: Any) -> None:
    problems: list[Problem] = []
    tree = read(Section(Drawing), {"title": "a", "note": found}, "", problems)
    again = read(Section(Drawing), tree, "", problems)
    assert not problems
    assert build(Drawing, again).pen == build(Drawing, tree).pen
    assert {**again, "note": None} == {**tree, "note": None}
