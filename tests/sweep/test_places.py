"""Paths in a study: relative to its file, then absolute."""

from pathlib import Path

import pytest

from sweep.spec.places import opened, placed

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


@pytest.mark.parametrize("values", [{}, {"data": None}, {"data": {"source": 3}}, {"storage": ""}])
def test_what_is_no_path_is_left_to_the_rules(values: dict[str, object]) -> None:
    assert placed(values, HERE) == values


def test_a_file_s_paths_begin_at_its_folder_and_those_of_set_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study").mkdir()
    file = tmp_path / "study" / "a.yaml"
    file.write_text("name: a\ndata: {source: npz:x.npz}\nstorage: states\n")
    monkeypatch.chdir(tmp_path)
    relative = opened(Path("study/a.yaml"))
    assert relative == opened(file)
    assert relative["data"]["source"] == f"npz:{tmp_path}/study/x.npz"
    assert relative["storage"] == f"{tmp_path}/study/states"
    given = opened(file, ["data.source=npz:x.npz"])
    assert given["data"]["source"] == f"npz:{tmp_path}/x.npz"
