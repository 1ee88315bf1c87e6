"""A report from a study's folder alone: what is compared, what is drawn, what is said."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from sweep.answers import charts, plots, report
from sweep.answers.answer import answer, cost
from sweep.answers.document import Heading
from sweep.answers.evidence import Evidence, elided, evidence, short
from sweep.answers.importance import importances
from sweep.answers.interactions import interactions
from sweep.answers.validation import noted
from sweep.recording.records import Confusion, Predictions, Validation
from sweep.search.samplers import distribution
from sweep.search.storage import Storage
from sweep.search.trial import Event, Trial
from sweep.spec.study import check
from sweep.workspace import StudyFolder, Workspace

SPACE = {
    "model": {
        "activation": {"choose": ["relu", "tanh", {"elu": {"alpha": {"low": 0.1, "high": 2.0}}}]},
        "batch_norm": {"choose": ["none", "after"]},
        "dropout": {"low": 0.0, "high": 0.6},
    },
    "training": {
        "epochs": 9,
        "learning_rate": {"low": 0.0001, "high": 0.1, "log": True},
    },
    "replicates": 2,
}
SCRIPT = "<script>alert('&')</script>"


def written(path: Path, trials: int, **more: Any) -> StudyFolder:
    """A study's folder: one trial in two is pruned after an epoch; tanh is better by 0.2."""
    study = check({"name": "made", "question": f"{SCRIPT} $x$?"} | SPACE | more)
    folder = Workspace(path).study("made")
    folder.create(study.text)
    storage = Storage(folder.trials, "made", directions=study.directions)
    distributions = {each.name: distribution(each) for each in study.parameters()}
    chance = random.Random(0)  # noqa: S311
    for number in range(trials):
        params: dict[str, Any] = {
            "model.activation": chance.choice(["relu", "tanh", "elu"]),
            "model.batch_norm": chance.choice(["none", "after"]),
            "model.dropout": chance.uniform(0, 0.6),
            "training.learning_rate": 10 ** chance.uniform(-4, -1),
        }
        if params["model.activation"] == "elu":
            params["model.activation.elu.alpha"] = chance.uniform(0.1, 2)
        trial = Trial(number, params, study.config(params))
        storage.start(trial, distributions)
        trial.happens(Event.SUBMIT)
        value = 0.5 + 0.2 * (params["model.activation"] == "tanh") + chance.uniform(0, 0.01)
        storage.report(number, 1, value)
        pruned = number % 2 == 1
        trial.epoch = 1 if pruned else 9
        trial.values = [value, value + 0.02] if pruned else [value + 0.1, value + 0.12]
        trial.metrics = {"epoch_seconds": [0.5, 0.5]}
        # its last link was quick; 3 seconds are pretraining
        trial.worker_seconds = trial.epoch * 2.0 + 3.0
        trial.spends({"training": trial.epoch * 1.5, "validation": trial.epoch * 0.5})
        trial.spends({"handover": 3.0, "waiting": 60.0})
        trial.happens(Event.PRUNE if pruned else Event.FINISH, "too low" if pruned else None)
        storage.end(trial)
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return evidence(written(tmp_path_factory.mktemp("many"), 40))


def test_trials_are_compared_at_a_budget_that_most_have_reached(found: Evidence) -> None:
    assert found.budget == 1
    assert len(found.compared) == 40
    first = found.trials[0]
    assert first.common == first.rungs[1] != first.value
    assert found.basis == "val_accuracy after 1 epoch: 40 of 40 trials"


def test_what_matters_has_the_largest_share(found: Evidence) -> None:
    shares = importances(found)
    assert next(iter(shares)) == "model.activation"
    assert shares["model.activation"].low > 0.9  # 0.2 of it, and noise of 0.01
    for mean, low, high in shares.values():
        assert 0 <= low <= mean <= high <= 1
    assert 0.9 < sum(each.mean for each in shares.values()) <= 1


def test_a_cell_has_the_mean_of_its_trials_and_their_number(found: Evidence) -> None:
    table = interactions(found)[0]
    assert (table.row, table.column) == ("activation", "batch_norm")
    mine = [
        each.common
        for each in found.compared
        if each.params["model.activation"] == "tanh" and each.params["model.batch_norm"] == "after"
    ]
    cell = table.rows.index("tanh"), table.columns.index("after")
    assert table.count[cell] == len(mine) > 2
    assert table.mean[cell] == pytest.approx(np.mean([each or 0.0 for each in mine]))
    assert 0 < table.half[cell] < 0.05
    assert table.count.sum() == 40


def test_every_picture_is_drawn_in_both_forms(found: Evidence, tmp_path: Path) -> None:
    names = plots.draw(found, tmp_path)
    absent = {"compared_groups", "confusion_matrix", "predicted_vs_observed", "pareto_front"}
    assert names == [name for name in plots.PICTURES if name not in absent]
    for name in names:
        assert imread(tmp_path / f"{name}.png").std() > 0.05
        assert charts.CHARTS[name](found) is not None
    assert set(plots.PICTURES) == set(charts.CHARTS) == set(report.CAPTIONS)


@pytest.mark.parametrize("trials", [0, 1, 2, 7])
def test_few_trials_make_a_report_too(tmp_path: Path, trials: int) -> None:
    folder = written(tmp_path, trials)
    made = report.write(folder)
    assert ("no answer" in made.answer) == (trials == 0)
    assert all(each.exists() for each in made.pictures)
    assert (len(made.pictures) > 0) == (trials > 0)
    assert report.write(folder).pictures == made.pictures  # in the place of the earlier one


def test_the_page_is_whole_and_what_a_study_file_says_is_text(
    found: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "")
    page = report.page(found.results.study.name, report.document(found))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert "src=" not in page.replace("img-src", "").replace("script-src", "")
    absent = ("compared_groups", "confusion_matrix", "predicted_vs_observed", "pareto_front")
    for name, (title, _) in report.CAPTIONS.items():
        assert (title in page) == (name not in absent)
    assert "±" in page


def test_the_answer_and_the_cost(found: Evidence) -> None:
    spent = cost(found.results)
    epochs = 20 * 2.0 + 20 * 18.0
    saved = 20 * 8.0  # by the last link's epochs of two replicates, half a second each
    assert (spent.spent, spent.epochs, spent.saved) == (epochs + 40 * 3.0, epochs, saved)
    best = found.results.best
    assert best is not None
    made = answer(found.results)
    assert f"#{best.number} is the best" in made
    assert "± 0.0141" in made
    assert "paired difference" in made


def test_claims_that_are_open_are_said_to_be(tmp_path: Path, found: Evidence) -> None:
    claim = {"name": "norm", "compare": {"model.batch_norm": ["after", "none"]}}
    made = report.write(written(tmp_path, 7, claims=[claim | {"expect": "after > none"}]))
    assert made.answer.startswith("Nothing was decided: all claims (1) are open. Of 7 trials")
    assert [each["verdict"] for each in made.as_json()["claims"]] == ["undecided"]
    page = made.page.read_text(encoding="utf-8")
    assert "the sampler tpe chose trials by their results" in page
    assert Heading("Claims") not in report.document(found)
    text = made.text.read_text(encoding="utf-8")
    assert "the sampler tpe chose trials by their results" in text
    assert r"\<script>alert('\&')\</script> \$x\$?" in text


CONFUSION = Confusion(0, [[5, 1], [0, 6]], ["<b>", "y"], 2, 0)
PREDICTIONS = Predictions(0, ["<b>"], 1, [[1.0, 2.0]], [[1.5, 1.5]], [[0.0]], 2, 0)


@pytest.mark.parametrize(
    ("name", "said"), [("confusion_matrix", CONFUSION), ("predicted_vs_observed", PREDICTIONS)]
)
def test_what_the_winner_says_of_rows_is_drawn_when_it_was_noted(
    tmp_path: Path, name: str, said: Validation
) -> None:
    folder = written(tmp_path, 3)
    Storage(folder.trials, "made").note(*noted(said))
    found = evidence(folder)
    assert found.validation == said
    assert plots.PICTURES[name](found) is not None
    assert "&lt;b&gt;" in charts.CHARTS[name](found).to_json()
    made = report.write(folder)
    assert folder.report / "pictures" / f"{name}.png" in made.pictures
    assert f"![{name.replace('_', ' ')}](pictures/{name}.png)" in made.text.read_text("utf-8")
    assert f'id="{name}"' in made.page.read_text("utf-8")


def test_long_options_that_differ_at_their_ends_stay_apart() -> None:
    texts = [f"{{source: models:/another@champion, freeze: {n}}}" for n in (0, 1)]
    assert [elided(each, 22) for each in texts] == [
        "{sour…pion, freeze: 0}",
        "{sour…pion, freeze: 1}",
    ]
    assert elided("x" * 22, 22) == "x" * 22


@pytest.mark.parametrize(
    ("name", "others", "shown"),
    [
        ("model.dropout", ["model.dropout", "training.lr"], "dropout"),
        ("a.elu.alpha", ["a.elu.alpha", "a.leaky.alpha"], "elu.alpha"),
        ("dropout", ["dropout", "model.dropout"], "dropout"),
    ],
)
def test_titles_are_as_short_as_they_can_be(name: str, others: list[str], shown: str) -> None:
    assert short(name, others) == shown
