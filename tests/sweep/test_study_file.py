import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from sweep.search.trial import State
from sweep.spec.study_file import LARGEST, compact, dump, load, override, parse
from trainer.rules import ConfigError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.5E+3", 1500.0),
        ("-1.", -1.0),
        (".5", 0.5),
        ("+12", 12),
        ("012", 12),  # octal in YAML 1.1
        ("0o17", 15),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("~", None),
        ("null", None),
        ("", None),
        ("true", True),
        ("FALSE", False),
        # what YAML 1.1 takes for booleans, numbers and dates is text in YAML 1.2
        ("no", "no"),
        ("On", "On"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0b11", "0b11"),
        ("2001-12-14", "2001-12-14"),
        ("<<", "<<"),
        ("=", "="),
        ("nUll", "nUll"),
        ("1e", "1e"),
        (".", "."),
        ("'1e-3'", "1e-3"),
    ],
)
def test_scalars_are_read_as_yaml_1_2_has_them(text: str, value: object) -> None:
    found = parse(f"field: {text}", "file")["field"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_read() -> None:
    assert math.isnan(parse("field: .nan", "file")["field"])


@given(VALUES)
@example("1e3")  # a number in YAML 1.2 only
@example("08")
@example("0o17")
@example("no")  # a boolean in YAML 1.1 only
@example(1e-7)
@example(1e22)
@example(math.inf)
@example("two\nlines")
@example("two\x85lines")
@example({"name": "1e3", "": [[], {}]})
def test_what_is_dumped_is_parsed_back(value: Any) -> None:
    assert parse(dump(value), "file") == value
    assert parse(compact(value), "file") == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([64, 64], "[64, 64]"),
        ({"elu": {"alpha": 0.1}, "no": None}, "{elu: {alpha: 0.1}, 'no': null}"),
        ("relu", "relu"),
        (1e-7, "1.0e-07"),
        (list(range(1000)), f"[{', '.join(map(str, range(1000)))}]"),
    ],
)
def test_compact_values_take_one_line(value: Any, text: str) -> None:
    assert compact(value) == text


@given(SCALARS)
def test_what_is_dumped_says_the_same_to_a_yaml_1_1_reader(value: Any) -> None:
    """The configuration beside each run is read by other people's tools, PyYAML for one."""
    assert yaml.safe_load(dump([value])) == [value]


def test_dump_keeps_the_order_of_fields() -> None:
    assert list(parse(dump({"z": 1, "a": 2, "m": 3}), "file")) == ["z", "a", "m"]


def test_what_only_looks_plain_is_dumped_as_plain_values() -> None:
    """From Python: numbers of NumPy's, members of an enumeration, an ordered mapping."""
    given = OrderedDict(rate=np.float64(0.1), name=State.COMPLETE, sizes=(8, 4))
    assert parse(dump(given), "file") == {"rate": 0.1, "name": "complete", "sizes": [8, 4]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"is not valid YAML: .* \(line 1, column 6\)"),
        ("a: {b: c", "is not valid YAML"),
        ("a: b: c", r"is not valid YAML: .* \(line 1, column 5\)"),
        ("a: 1\n---\nb: 2", "is not valid YAML: .* another document"),
        ("a: \x07", "is not valid YAML"),
        ("a: &x 1\nb: *x", r"aliases \(\*name\) are not allowed \(line 2, column 4\)"),
        ("a: 1\nb: 2\na: 3", r"the field 'a' stands here twice \(line 3, column 1\)"),
        ("a: {b: {c: 1, c: 1}}", "the field 'c' stands here twice"),
        ("1: a", r"a field's name must be a string, got 1 \(line 1, column 1\)"),
        ("a: {true: b}", "must be a string, got True"),
        ("? [a, b]\n: c", r"must be a string, got \['a', 'b'\]"),
        ("{null: a}", "must be a string, got None"),
        ("a: !!python/object/apply:os.system ['true']", r"tags \(!name\) are not allowed"),
        ("a: !!python/name:os.system", r"tags \(!name\) are not allowed"),
        ("a: !mine 3", r"tags \(!name\) are not allowed \(line 1, column 4\)"),
        ("a: !!bool maybe", "tags"),
        ("a: !!timestamp never", "tags"),
        ("a: !!int x", "tags"),
        ("a: !!set {b}", "tags"),
        ("a: !!map [b]", "tags"),
        ("a: " + "9" * 5000, "is not valid YAML"),  # more digits than Python converts
        ("a: 0x" + "f" * 5000, "is not valid YAML: .*4300 digits"),
        ("[" * 5000, "is not valid YAML"),
    ],
)
def test_what_a_study_file_may_not_hold(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s)^a file: .*{message}"):
        parse(text, "a file")


def test_a_billion_laughs_are_refused_at_once() -> None:
    lines = ["l0: &l0 [ha, ha]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match=r"aliases .* \(line 2, column 10\)"):
        parse("\n".join(lines), "file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold a mapping of fields; this is an empty file"),
        (b"# nothing\n", "this is an empty file"),
        (b"- a\n- b\n", "this is a list"),
        (b"some text", "this is a str"),
        (b"name: \xff\xfe", "must be text in UTF-8"),
        (b"name: a\n" + b"#" * LARGEST, f"must have at most {LARGEST} bytes"),
        (b"name: [", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_study(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: cannot be read: No such file or directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\r\nquestion: b\r\n")
    assert load(path) == {"name": "a", "question": "b"}


def test_overrides_are_made_in_a_copy() -> None:
    values = {"name": "a", "model": {"hidden": [1], "init": None}, "data": None}
    made = override(
        values,
        [
            "model.hidden=[2, 3]",
            "training.learning_rate={low: 1e-3, high: 1, log: true}",
            "data.source=idx:dir=with=equals",
            "question=",
            "model.activation=relu",
            "model.activation=tanh",
        ],
    )
    assert made == {
        "name": "a",
        "model": {"hidden": [2, 3], "init": None, "activation": "tanh"},
        "data": {"source": "idx:dir=with=equals"},
        "training": {"learning_rate": {"low": 1e-3, "high": 1, "log": True}},
        "question": None,
    }
    assert values == {"name": "a", "model": {"hidden": [1], "init": None}, "data": None}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", "--set: must be written path=value, got 'epochs'"),
        ("=3", "--set: must be written path=value, got '=3'"),
        ("", "--set: must be written path=value, got ''"),
        ("model.hidden.0=3", "--set model.hidden.0: runs through a value that is no mapping"),
        ("name.first=3", "--set name.first: runs through a value that is no mapping"),
        ("model.init=[", "--set model.init: is not valid YAML"),
        ("model.init=*x", r"--set model.init: is not valid YAML: aliases"),
        ("model.init=!!python/name:os.system", "--set model.init: is not valid YAML: tags"),
    ],
)
def test_an_override_that_cannot_be_made(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override({"name": "a", "model": {"hidden": [1]}}, [assignment])
    assert str(caught.value).startswith(message)
