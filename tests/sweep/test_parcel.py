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
        {"model": {"start_from": {"source": "model.npz"}}},
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
            {"model": {"start_from": {"source": "~/model.npz"}}},
            "model.start_from.source: must be relative, to travel to the cluster's head, or absol",
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
    assert not pack_study(tmp_path, study, study)
    assert [each.name for each in tmp_path.iterdir()] == ["study.yaml"]
    assert load(tmp_path / "study.yaml") == study.values


def test_a_file_travels_beside_the_study_file(make_study: MakeStudy, tmp_path: Path) -> None:
    folder, target = tmp_path / "here", tmp_path / "parcel"
    folder.mkdir()
    target.mkdir()
    (folder / "x.csv").write_text("a,y\n1,0\n")
    study = make_study(data={"source": "csv:x.csv#y"})
    here = make_study(data={"source": f"csv:{folder}/x.csv#y"})
    assert pack_study(target, study, here)
    source = load(target / "study.yaml")["data"]["source"]
    kind, _, place = source.partition(":")
    path, _, column = place.partition("#")
    assert (kind, column) == ("csv", "y")
    assert (target / path).read_text() == "a,y\n1,0\n"
    before = source
    (folder / "x.csv").write_text("a,y\n2,0\n")
    (tmp_path / "again").mkdir()
    pack_study(tmp_path / "again", study, here)
    assert load(tmp_path / "again" / "study.yaml")["data"]["source"] != before


def test_a_folder_travels_without_what_is_hidden(make_study: MakeStudy, tmp_path: Path) -> None:
    folder, target = tmp_path / "fashion", tmp_path / "parcel"
    (folder / "below").mkdir(parents=True)
    target.mkdir()
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte", ".gitignore"):
        (folder / name).write_text(name)
    here = make_study(data={"source": f"idx:{folder}"})
    pack_study(target, make_study(data={"source": "idx:fashion"}), here)
    source = load(target / "study.yaml")["data"]["source"]
    found = sorted(each.name for each in (target / source.removeprefix("idx:")).iterdir())
    assert found == ["t10k-images-idx3-ubyte", "train-images-idx3-ubyte"]


def test_models_to_start_from_travel_as_data_do(make_study: MakeStudy, tmp_path: Path) -> None:
    """All options of a choice, in claims as well; what is absolute or in MLflow stays."""
    (tmp_path / "a").mkdir()
    for name, text in {"a/model.npz": "a", "model.npz": "b"}.items():
        (tmp_path / name).write_text(text)

    def study(folder: str) -> Study:
        first, second = f"{folder}a/model.npz", f"{folder}model.npz"
        start = {"choose": [None, {"source": {"choose": [first, second]}}, {"source": "/c.npz"}]}
        claim = {
            "name": "first",
            "compare": {"model.start_from.1.source": [first, second]},
            "expect": f"{first} > {second}",
        }
        return make_study(model={"start_from": start}, claims=[claim])

    (tmp_path / "parcel").mkdir()
    assert pack_study(tmp_path / "parcel", study(""), study(f"{tmp_path}/"))
    packed = load(tmp_path / "parcel" / "study.yaml")
    nothing, given, absolute = packed["model"]["start_from"]["choose"]
    assert (nothing, absolute) == (None, {"source": "/c.npz"})
    first, second = given["source"]["choose"]
    assert [(tmp_path / "parcel" / each).read_text() for each in (first, second)] == ["a", "b"]
    (claim,) = packed["claims"]
    assert claim["compare"] == {"model.start_from.1.source": [first, second]}
    assert claim["expect"] == f"{first} > {second}"


@pytest.mark.parametrize("source", ["csv:x.csv", "csv:x.csv#", "parquet:#y", "parquet:x"])
def test_a_table_without_its_column_is_refused(
    source: str, make_study: MakeStudy, tmp_path: Path
) -> None:
    kind, _, place = source.partition(":")
    written, here = (make_study(data={"source": f"{kind}:{at}{place}"}) for at in ("", "/x/"))
    with pytest.raises(ConfigError, match=r"data.source: must name a file and, after #, the col"):
        pack_study(tmp_path, written, here)


def test_the_folder_above_travels_by_its_name(make_study: MakeStudy, tmp_path: Path) -> None:
    below, target = tmp_path / "fashion" / "studies", tmp_path / "parcel"
    below.mkdir(parents=True)
    target.mkdir()
    (tmp_path / "fashion" / "train").write_text("train")
    here = make_study(data={"source": f"idx:{below}/.."})
    assert pack_study(target, make_study(data={"source": "idx:.."}), here)
    source = load(target / "study.yaml")["data"]["source"].removeprefix("idx:")
    assert source.endswith("/fashion")
    assert (target / source / "train").read_text() == "train"


def test_files_that_are_absent_or_too_large_are_refused(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, model = tmp_path / "x.npz", tmp_path / "m.npz"

    def study(folder: str) -> Study:
        start = {"start_from": {"source": f"{folder}m.npz"}}
        return make_study(data={"source": f"npz:{folder}x.npz"}, model=start)

    written, here = study(""), study(f"{tmp_path}/")
    with pytest.raises(ConfigError, match=f"data.source: must be a file .* looked for at {data}"):
        pack_study(tmp_path, written, here)
    data.write_bytes(bytes(2 * 2**20))
    with pytest.raises(ConfigError, match=rf"start_from.source: must be a file .* at {model}"):
        pack_study(tmp_path, written, here)
    model.write_bytes(bytes(2**20))
    monkeypatch.setattr(parcel, "LARGEST", 2 * 2**20)
    rule = "start_from.source: has 1 MiB, 3 MiB with what travels beside it, and 2 MiB travel at"
    with pytest.raises(ConfigError, match=rule):
        pack_study(tmp_path, written, here)
    monkeypatch.setattr(parcel, "LARGEST", 2**20)
    rule = "data.source: has 2 MiB, and 1 MiB travel at most; copy it to the head"
    with pytest.raises(ConfigError, match=rule):
        pack_study(tmp_path, written, here)
