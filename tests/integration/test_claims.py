"""From a study file to the verdicts in its report, with a trainer whose best option is known."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sweep import datasets as sweep_datasets
from sweep import driver
from sweep.__main__ import cli
from sweep.answers.claims import findings
from sweep.scheduling.runner import Advanced, Datasets, Link, LocalRunner, Outcome, advance
from sweep.spec.fields import Resources
from trainer.rules import named

ACCURACY = {"relu": 0.90, "elu": 0.93, "tanh": 0.90}
STUDY: dict[str, Any] = {
    "name": "planted",
    "question": "Which activation is the best?",
    "model": {
        "hidden": [4],
        "activation": {"choose": list(ACCURACY)},
        "batch_norm": {"choose": ["none", "after"]},
    },
    "training": {"epochs": 1},
    "search": {"sampler": "factorial"},
    "replicates": 6,
    "claims": [
        {"name": "elu", "compare": {"model.activation": ["elu", "relu"]}, "expect": "elu > relu"},
        {"name": "relu", "compare": {"model.activation": ["relu", "elu"]}, "expect": "relu > elu"},
        {
            "name": "tanh",
            "compare": {"model.activation": ["tanh", "relu"]},
            "expect": "tanh > relu",
            "where": {"model.batch_norm": "after"},
        },
    ],
}


class Planted(LocalRunner):
    """Trains as usual, and brings the accuracies that were planted instead of those reached."""

    def __init__(
        self, datasets: Datasets, resources: Resources | None = None, address: str | None = None
    ) -> None:
        super().__init__(datasets, resources, address)
        self._activations: dict[int, str] = {}

    def submit(self, link: Link) -> None:
        self._activations[link.number] = named(link.config["model"]["activation"])[0]
        super().submit(link)

    def wait(self, seconds: float) -> list[Outcome]:
        return [self._planted(outcome) for outcome in super().wait(seconds)]

    def _planted(self, outcome: Outcome) -> Outcome:
        assert isinstance(outcome, Advanced)
        count = len(outcome.metrics["val_accuracy"])
        shared = 0.05 * np.sin(np.arange(count))  # what a seed does to every trial
        own = 0.001 * np.random.default_rng(outcome.number).standard_normal(count)
        values = ACCURACY[self._activations[outcome.number]] + shared + own
        return dataclasses.replace(outcome, metrics={**outcome.metrics, "val_accuracy": values})


@pytest.mark.slow
def test_decide_adds_replicates_until_the_claims_are_decided(tmp_path: Path) -> None:
    open_claim = {"compare": {"model.activation": ["tanh", "relu"]}, "expect": "tanh > relu"}
    claims = [{"name": "open", **open_claim, "margin": 0.0002}, *STUDY["claims"][:1]]
    driver.run(STUDY | {"claims": claims}, runner=Planted, folder=str(tmp_path), quiet=True)
    finished = driver.resume(
        "planted", decide=True, runner=Planted, folder=str(tmp_path), quiet=True
    )
    results = finished.results
    assert len(results.trials) == 6 * 3
    assert [len(results.trials[number].values) for number in (0, 6, 12)] == [6, 6, 12]
    first, elu = findings(results)
    assert (elu.verdict, elu.look, elu.replicates) == ("supported", 1, 6)
    assert (first.verdict, first.look, first.replicates) == ("undecided", 3, 24)
    # the trials of all looks together are the replicates of one trial
    plain = results.study.config(results.trials[0].params)
    whole = Link(0, plain, 1, results.study.search.seed, replicates=24)
    trained, _ = advance(whole, sweep_datasets.Datasets(results.study).data(plain), None)
    assert isinstance(trained, Advanced)
    parts = [results.trials[number].metrics["val_loss"] for number in (0, 6, 12)]
    assert [*itertools.chain(*parts)] == trained.metrics["val_loss"].tolist()
    more = driver.resume("planted", decide=True, runner=Planted, folder=str(tmp_path), quiet=True)
    assert len(more.results.trials) == 18  # there is no fourth look


def test_a_planted_truth_comes_out_as_the_verdict(tmp_path: Path) -> None:
    driver.run(STUDY, runner=Planted, folder=str(tmp_path), quiet=True)
    call = CliRunner()
    shown = call.invoke(cli, ["report", "planted", "--workspace", str(tmp_path), "--json"])
    assert shown.exit_code == 0, shown.output
    made = json.loads(shown.stdout)
    elu, relu, tanh = made["claims"]
    assert [each["verdict"] for each in (elu, relu)] == ["supported", "refuted"]
    assert elu["effect"] == pytest.approx(0.03, abs=0.002)
    assert elu["low"] < 0.03 < elu["high"]
    assert (elu["pairs"], tanh["pairs"]) == (2, 1)
    assert tanh["low"] < 0 < tanh["high"]
    assert tanh["verdict"] == "undecided"
    assert made["answer"].startswith(
        "Of 3 claims 1 supported (elu), 1 refuted (relu), 1 undecided. Of 6 trials #"
    )
    page = Path(made["html"]).read_text(encoding="utf-8")
    assert "<h2>Claims</h2>" in page
    assert "val_<wbr>accuracy: elu &gt; relu" in page
    text = Path(made["markdown"]).read_text(encoding="utf-8")
    assert "\n| claim | effect | interval | pairs | verdict |\n| --- |" in text
    assert "| 2 | supported |\n" in text
    assert "![compared groups](pictures/compared_groups.png)" in text
    assert (Path(made["html"]).parent / "pictures" / "compared_groups.png").exists()
    listed = call.invoke(cli, ["show", "planted", "--workspace", str(tmp_path), "--json"])
    assert json.loads(listed.stdout)["claims"] == made["claims"]
