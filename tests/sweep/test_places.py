"""Paths in a study: relative to its file, then absolute."""

from pathlib import Path
from typing import Any

import pytest

from sweep.spec.places import opened, placed, placed_option
from sweep.spec.study import check
from sweep.spec.study_file import dump

HERE = Path("/here")


@pytest.mark.parametrize(
    ("source", "absolute"),
    [
        ("npz:x.npz", "npz:/here/x.npz"),
        ("csv:../data/x.csv#y", "csv:/here/../data/x.csv#y"),
        ("idx:fashion", "idx:/here/fashion"),
        ("npz:/x.npz", "npz:/x.npz"),
        ("digits", "digits"),
        ("mine:load", "mine:load"),
        ("npz:", "npz:"),
    ],
)
def test_a_relative_source_begins_at_the_folder(source: str, absolute: str) -> None:
    values = {"name": "a", "data": {"source": source, "validation": 0.5}}
    assert placed(values, HERE)["data"] == {"source": absolute, "validation": 0.5}
    assert values["data"] == {"source": source, "validation": 0.5}


@pytest.mark.parametrize(
    ("storage", "absolute"),
    [("states", "/here/states"), ("/mnt/states", "/mnt/states"), ("s3://b/x", "s3://b/x")],
)
def test_so_does_a_relative_storage(storage: str, absolute: str) -> None:
    assert placed({"storage": storage}, HERE) == {"storage": absolute}


A, ABSOLUTE = {"source": "a.npz", "freeze": 1}, {"source": "/here/a.npz", "freeze": 1}


@pytest.mark.parametrize(
    ("start", "absolute"),
    [
        (A, ABSOLUTE),
        ({"choose": [None, A]}, {"choose": [None, ABSOLUTE]}),
        (
            {"source": {"choose": ["a.npz", "models:/b@c"]}, "keep": {"choose": [1, 2]}},
            {"source": {"choose": ["/here/a.npz", "models:/b@c"]}, "keep": {"choose": [1, 2]}},
        ),
        (
            {"choose": [{"source": {"choose": ["../a.npz", "/b.npz"]}}]},
            {"choose": [{"source": {"choose": ["/here/../a.npz", "/b.npz"]}}]},
        ),
    ],
)
def test_so_does_a_model_to_start_from(start: object, absolute: object) -> None:
    values = {"model": {"start_from": start, "hidden": [4]}}
    assert placed(values, HERE) == {"model": {"start_from": absolute, "hidden": [4]}}
    own = {**values, "trainer": "mine:Trainer"}  # whose argument that is
    assert placed(own, HERE) == own


def test_so_does_an_option_that_is_given_alone() -> None:
    assert placed_option("model.start_from", A, HERE) == ABSOLUTE
    assert placed_option("model.start_from.1.source", "a.npz", HERE) == "/here/a.npz"
    assert placed_option("model.start_from", None, HERE) is None
    assert placed_option("data.preprocess", "a.npz", HERE) == "a.npz"


def test_claims_go_by_the_same_names() -> None:
    def study(name: str) -> dict[str, Any]:
        start = {"source": name, "freeze": 1}
        return {
            "name": "a",
            "model": {"start_from": {"choose": [None, start]}, "init": {"choose": ["normal"]}},
            "claims": [
                {
                    "name": "one",
                    "compare": {"model.start_from": [start, None]},
                    "expect": f"{{source: {name}, freeze: 1}} > null",
                },
                {
                    "name": "two",
                    "compare": {"model.init": ["normal", "orthogonal"]},
                    "where": {"model.start_from": start},
                    "expect": "normal < orthogonal",
                },
            ],
        }

    assert placed(study("a.npz"), HERE) == study("/here/a.npz")
    model = {"start_from": {"source": {"choose": ["a b.npz", "~/b.npz"]}}}
    claim = {
        "name": "one",
        "compare": {"model.start_from.source": ["a b.npz", "~/b.npz"]},
        "expect": "a b.npz < ~/b.npz",
    }
    found = placed({"name": "a", "model": model, "claims": [claim]}, HERE)
    (read,) = check(found).claims
    assert read.options == (("/here/a b.npz",), ("~/b.npz",))
    assert not read.larger


@pytest.mark.parametrize("name", ["/a.npz", "~/a.npz", "models:/a@b", "models:/a/1", "runs:/a/b"])
def test_a_study_that_names_no_relative_path_keeps_its_text(name: str) -> None:
    start = {"choose": [None, {"source": name}]}
    expect = f"{{source: '{name}'}}  >  null"  # as nobody else would write it
    compare = {"model.start_from": [{"source": name}, None]}
    claims = [{"name": "one", "compare": compare, "expect": expect}]
    values = {"name": "a", "claims": claims, "model": {"start_from": start}}
    assert dump(placed(values, HERE)) == dump(values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"data": None},
        {"data": {"source": 3}},
        {"storage": ""},
        {"model": 3},
        {"model": {"start_from": "a.npz"}},
        {"model": {"start_from": {"source": 3}}, "claims": 3},
        {"model": {"start_from": None}, "claims": [3, {"compare": 3}, {"compare": {}}]},
        {"model": {}, "claims": [{"compare": {"model.start_from": 3}, "expect": "{ > a > b"}]},
        {"model": {}, "claims": [{"compare": {"model.start_from": 3}, "expect": "{ > a"}]},
    ],
)
def test_what_is_no_path_is_left_to_the_rules(values: dict[str, object]) -> None:
    assert placed(values, HERE) == values


def test_a_file_s_paths_begin_at_its_folder_and_those_of_set_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study").mkdir()
    file = tmp_path / "study" / "a.yaml"
    start = "model: {start_from: {source: m.npz}}"
    file.write_text(f"name: a\ndata: {{source: npz:x.npz}}\nstorage: states\n{start}\n")
    monkeypatch.chdir(tmp_path)
    relative = opened(Path("study/a.yaml"))
    assert relative == opened(file)
    assert relative["data"]["source"] == f"npz:{tmp_path}/study/x.npz"
    assert relative["storage"] == f"{tmp_path}/study/states"
    assert relative["model"]["start_from"]["source"] == f"{tmp_path}/study/m.npz"
    given = opened(file, ["data.source=npz:x.npz", "model.start_from={source: n.npz}"])
    assert given["model"]["start_from"]["source"] == f"{tmp_path}/n.npz"
    assert given["data"]["source"] == f"npz:{tmp_path}/x.npz"
