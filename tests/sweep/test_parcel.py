"""What travels to a cluster's head, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sweep import parcel
from sweep.parcel import pack_study, travels
from sweep.spec.study import Study
from sweep.spec.study_file import load
from trainer.rules import ConfigError

MakeStudy = Callable[..., Study]


@pytest.mark.parametrize(
    "fields",
    [
        {"data": {"source": "digits"}},
        {"data": {"source": "npz:/data/x.npz"}},
        {"data": {"source": "csv:data/x.csv#y"}},
        {"model": {"start_from": {"source": "models:/a@champion"}}},
        {"model": {"start_from": {"source": "/data/model.npz"}}},
        {"storage": "/mnt/states"},
        {"storage": "s3://bucket/states"},
    ],
)
def test_what_the_head_can_read(fields: dict[str, object], make_study: MakeStudy) -> None:
    travels(make_study(**fields))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"data": {"source": "mine:load"}}, "data.source: code of one's own does not travel"),
        ({"trainer": "mine:Trainer"}, "trainer: does not travel to a cluster's head"),
        (
            {"model": {"start_from": {"source": "model.npz"}}},
            "model.start_from.source: is read on the cluster's head, so its path must be absolute",
        ),
        (
            {"storage": "states"},
            "storage: is written on the cluster's head, so it must be absolute",
        ),
    ],
)
def test_what_the_head_could_not_read(
    fields: dict[str, object], told: str, make_study: MakeStudy
) -> None:
    with pytest.raises(ConfigError) as caught:
        travels(make_study(**fields))
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("source", ["digits", "npz:/data/x.npz"])
def test_data_of_the_head_stay_there(source: str, make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(data={"source": source})
    assert not pack_study(tmp_path, study, source)
    assert [each.name for each in tmp_path.iterdir()] == ["study.yaml"]
    assert load(tmp_path / "study.yaml") == study.values


def test_a_file_travels_beside_the_study_file(make_study: MakeStudy, tmp_path: Path) -> None:
    folder, target = tmp_path / "here", tmp_path / "parcel"
    folder.mkdir()
    target.mkdir()
    (folder / "x.csv").write_text("a,y\n1,0\n")
    study = make_study(data={"source": "csv:x.csv#y"})
    assert pack_study(target, study, f"csv:{folder}/x.csv#y")
    source = load(target / "study.yaml")["data"]["source"]
    kind, _, place = source.partition(":")
    path, _, column = place.partition("#")
    assert (kind, column) == ("csv", "y")
    assert (target / path).read_text() == "a,y\n1,0\n"
    before = source
    (folder / "x.csv").write_text("a,y\n2,0\n")
    (tmp_path / "again").mkdir()
    pack_study(tmp_path / "again", study, f"csv:{folder}/x.csv#y")
    assert load(tmp_path / "again" / "study.yaml")["data"]["source"] != before


def test_a_folder_travels_without_what_is_hidden(make_study: MakeStudy, tmp_path: Path) -> None:
    folder, target = tmp_path / "fashion", tmp_path / "parcel"
    (folder / "below").mkdir(parents=True)
    target.mkdir()
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte", ".gitignore"):
        (folder / name).write_text(name)
    pack_study(target, make_study(data={"source": "idx:fashion"}), f"idx:{folder}")
    source = load(target / "study.yaml")["data"]["source"]
    found = sorted(each.name for each in (target / source.removeprefix("idx:")).iterdir())
    assert found == ["t10k-images-idx3-ubyte", "train-images-idx3-ubyte"]


def test_data_that_are_absent_or_too_large_are_refused(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, file = make_study(data={"source": "npz:x.npz"}), tmp_path / "x.npz"
    with pytest.raises(ConfigError, match=f"data.source: must be a file .* looked for at {file}"):
        pack_study(tmp_path, study, f"npz:{file}")
    file.write_bytes(bytes(2 * 2**20))
    monkeypatch.setattr(parcel, "LARGEST", 2**20)
    rule = "data.source: has 2 MiB, and 1 MiB travel at most; copy it to the head"
    with pytest.raises(ConfigError, match=rule):
        pack_study(tmp_path, study, f"npz:{file}")
