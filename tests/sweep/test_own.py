"""A study with a trainer of the user's: its fields, and the class that it names."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sweep.__main__ import cli
from sweep.datasets import Datasets
from sweep.spec.study import Study, check
from trainer.rules import ConfigError

MODULE = '''
import numpy as np
from trainer.protocol import Progress

class Guess:
    """Guesses; `luck` moves its accuracy."""

    def __init__(self, luck=0.5, units=(8,)):
        if luck > 0.9:
            raise ValueError(f"luck is at most 0.9, got {luck}")
        self.luck, self.units = luck, units

    def train(self, data, state, until, *, seed, replicates):
        before = 0 if state is None else int(state["epoch"])
        values = np.full((until - before, len(replicates)), self.luck)
        return Progress({"luck": values[0]}, until, {"val_accuracy": values},
                        {"val_accuracy": values[-1]})

    def predict_proba(self, state, x):
        raise RuntimeError("no more")

class Half:
    def train(self): ...

number = 3
'''

Make = Callable[..., Study]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a study whose trainer lies in the current folder, as module `tarot`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("SWEEP_WORKSPACE", raising=False)
    (tmp_path / "tarot.py").write_text(MODULE)

    monkeypatch.delitem(sys.modules, "tarot", raising=False)

    def study(trainer: str = "tarot:Guess", **fields: Any) -> Study:
        return check({"name": "a", "trainer": trainer, **fields})

    return study


def mistakes(make: Callable[[], object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make()
    return str(caught.value).splitlines()


def test_the_arguments_are_free_and_may_be_searched(make: Make) -> None:
    model = {
        "luck": {"low": 0.1, "high": 0.5},
        "depth": {"low": 1, "high": 8, "log": True},
        "steps": {"low": 0, "high": 1, "step": 0.25},
        "penalty": {"choose": ["l2", None, 3]},
        "units": [4, {"low": 8, "high": 16}],
        "shape": {"choose": [[1, 2], {"low": 2.5, "high": 5.0}]},
        "fixed": True,
    }
    study = make(model=model, training={"epochs": {"choose": [3, 9]}})
    assert {each.name: str(each) for each in study.parameters()} == {
        "model.luck": "float 0.1 … 0.5",
        "model.depth": "log int 1 … 8",
        "model.steps": "float 0 … 1 step 0.25",
        "model.penalty": "l2 | null | 3",
        "model.units.1": "int 8 … 16",
        "model.shape": "[1, 2] | {low: 2.5, high: 5.0}",
        "model.shape.1": "float 2.5 … 5",
        "training.epochs": "3 | 9",
    }
    assert study.epochs == 9
    plain = study.first_config()
    assert plain["model"]["units"] == [4, 8]
    assert study.flat(plain) == {
        "model.luck": 0.1,
        "model.depth": 1,
        "model.steps": 0.0,
        "model.penalty": "l2",
        "model.units": "[4, 8]",
        "model.shape": "[1, 2]",
        "model.fixed": True,
        "training.epochs": 3,
        "data.preprocess": "standardize",
    }
    assert study.record.models.name == "none"
    assert check(dict(study.values)).text == study.text


@pytest.mark.parametrize(
    ("fields", "mistake"),
    [
        ({"trainer": "tarot"}, "trainer: must be MODULE:CLASS, got 'tarot'"),
        ({"trainer": "a b:C"}, "trainer: must be MODULE:CLASS, got 'a b:C'"),
        ({"trainer": 3}, "trainer: must be MODULE:CLASS, got 3"),
        ({"model": [1]}, "model: must be a mapping of arguments, got [1]"),
        ({"model": {"a-b": 1}}, "model.a-b: is no name that an argument can have"),
        ({"model": {"lambda": 1}}, "model.lambda: is no name that an argument can have"),
        (
            {"model": {"a": {"b": 1}}},
            "model.a: must be a number, a text, true, false, null or a list of such, got {'b': 1}",
        ),
        ({"model": {"a": {"low": 2, "high": 1}}}, "model.a: low must be below high"),
        ({"model": {"a": {"low": -1e308, "high": 1e308}}}, "model.a: must be narrower than the"),
        ({"model": {"a": {"low": "x", "high": 1}}}, "model.a.low: must be a number, got 'x'"),
        ({"model": {"a": {"low": 1}}}, "model.a.high: is missing"),
        ({"training": {"batch_size": 8}}, "training.batch_size: is not a field"),
        ({"record": {"models": "all"}}, "record.models: must be none or left out with trainer"),
        ({"search": {"sampler": "pbt"}}, "search.sampler: can't be pbt with trainer"),
    ],
)
def test_mistakes_in_its_fields(make: Make, fields: dict[str, Any], mistake: str) -> None:
    (found,) = mistakes(lambda: make(**fields))
    assert found.startswith(mistake)


def test_without_one_the_arguments_are_not_free(make: Make) -> None:
    (found,) = mistakes(lambda: check({"name": "a", "model": {"luck": 1}}))
    assert found.startswith("model.luck: is not a field")


@pytest.mark.parametrize(
    ("trainer", "mistake"),
    [
        ("tarot:Witch", "trainer: tarot:Witch failed with AttributeError: module 'tarot' has no"),
        ("runes:Guess", "trainer: runes:Guess failed with ModuleNotFoundError: No module named"),
        ("broken:Guess", "trainer: broken:Guess failed with ZeroDivisionError: division by zero"),
        ("tarot:number", "trainer: must name a class, got 'tarot:number'"),
        (
            "tarot:Half",
            "trainer: must have the methods of trainer.protocol.Trainer; predict_proba is missing",
        ),
    ],
)
def test_a_class_that_can_not_be_used(make: Make, trainer: str, mistake: str) -> None:
    Path("broken.py").write_text("1 / 0\n")
    allowed = [trainer.partition(":")[0]]
    (found,) = mistakes(lambda: Datasets(make(trainer), allow_code=allowed))
    assert found.startswith(mistake)


def test_arguments_that_the_class_refuses_are_found_before_anything_starts(make: Make) -> None:
    study = make(model={"luck": {"low": 0.5, "high": 1.0}})
    assert mistakes(lambda: Datasets(study, allow_code=["tarot"])) == [
        "model: tarot:Guess failed with ValueError: luck is at most 0.9, got 1.0"
    ]
    study = make(model={"fate": {"choose": [1, 2]}})
    (found,) = mistakes(lambda: Datasets(study, allow_code=["tarot"]))
    assert found.startswith("model: tarot:Guess failed with TypeError: Guess.__init__() got an un")


def test_it_is_not_imported_unless_allowed(make: Make) -> None:
    Path("thorns.py").write_text("import pathlib\npathlib.Path('imported').touch()\n")
    Path("study.yaml").write_text("{name: a, trainer: 'thorns:Guess'}\n")
    shown = CliRunner().invoke(cli, ["run", "study.yaml", "--allow-code=thorns.Guess"])
    assert shown.exit_code == 2
    reason = "trainer: is code to import: run with --allow-code thorns, got 'thorns:Guess'\n"
    assert shown.stderr == reason
    assert not Path("imported").exists()
    assert not Path("results").exists()


def test_what_judges_a_trial_must_be_among_its_metrics(make: Make) -> None:
    study = make(
        objective=[{"metric": "val_loss"}, {"metric": "parameters"}],
        constraints=["predict_seconds <= 1", "parameters <= 9"],
    )
    maker: Any = Datasets(study, allow_code=["tarot"]).maker
    assert maker.needed == ("val_loss", "parameters", "predict_seconds")


def test_its_version_is_that_of_its_file(make: Make) -> None:
    first: Any = Datasets(make(), allow_code=["tarot"]).maker
    again: Any = Datasets(make(), allow_code=["tarot"]).maker
    assert first.digest == again.digest
    Path("tarot.py").write_text(MODULE + "\n# another\n")
    del sys.modules["tarot"]
    changed: Any = Datasets(make(), allow_code=["tarot"]).maker
    assert changed.digest != first.digest


def test_a_prediction_that_fails_is_told_as_a_mistake(make: Make) -> None:
    study = make()
    trainers = Datasets(study, allow_code=["tarot"]).trainers
    x = Datasets(study, allow_code=["tarot"]).data(study.first_config()).folds[0].x_val
    assert mistakes(lambda: trainers.predict(study.first_config(), {}, [x])) == [
        "trainer: tarot:Guess.predict_proba failed with RuntimeError: no more"
    ]


def test_check_says_that_its_size_is_not_known(make: Make) -> None:
    Path("study.yaml").write_text("{name: a, trainer: 'tarot:Guess'}\n")
    shown = CliRunner().invoke(cli, ["check", "study.yaml", "--allow-code=tarot"])
    assert shown.exit_code == 0
    assert "can't be estimated: only training can tell what tarot:Guess learns" in shown.output
