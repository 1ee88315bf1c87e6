"""`resources.gpu: auto` on Ray, whose cards are counted and not there: a trainer that sleeps."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sweep import driver
from sweep.datasets import Datasets
from sweep.pruners import NoPruner
from sweep.scheduling.devices import Devices, Work, work
from sweep.scheduling.loop import Loop
from sweep.scheduling.ports import Standing
from sweep.scheduling.ray_runner import RayRunner, RayUnavailable
from sweep.scheduling.runner import Advanced, Link
from sweep.search.search import Search
from sweep.search.storage import Storage
from sweep.search.trial import State, Trial
from sweep.spec.study import check
from tests.integration.machines import machines, quiet

pytestmark = quiet

TRIALS = 30

MODULE = '''
import os, time
import numpy as np
from trainer.protocol import Progress

class Sleeper:
    """Its accuracy is 1 where it has a card, and there it is quicker by far."""

    def __init__(self, luck=0.5):
        pass

    def train(self, data, state, until, *, seed, replicates):
        card = bool(os.environ.get("CUDA_VISIBLE_DEVICES"))
        time.sleep(0.05 if card else 2.0)
        values = np.full((1, len(replicates)), float(card))
        return Progress({"card": values[0]}, until, {"val_accuracy": values},
                        {"val_accuracy": values[-1]})

    def predict_proba(self, state, x):
        return np.full((len(state["card"]), len(x), 10), 0.1)
'''


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Three cores, and one card as far as Ray knows."""
    with machines(num_cpus=3, num_gpus=1) as made:
        yield made.address


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Datasets:
    (tmp_path / "dormouse.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return Datasets(check(values("auto")), allow_code=["dormouse"])


class Ended:
    """Records that keep the values of trials."""

    def __init__(self) -> None:
        self.values: dict[int, float] = {}

    def started(self, trial: Trial) -> None: ...

    def advanced(self, trial: Trial, outcome: Advanced) -> None: ...

    def ended(self, trial: Trial, state: Any, error: str | None, *, best: bool) -> None:
        assert trial.state is State.COMPLETE, error
        self.values[trial.number] = trial.value

    def left(self, trial: Trial) -> None: ...


def values(gpu: Any, **resources: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "trainer": "dormouse:Sleeper",
        "model": {"luck": {"low": 0.0, "high": 1.0}},
        "training": {"epochs": 1},
        "search": {"sampler": "random", "pruner": "none", "trials": TRIALS},
        "replicates": 1,
        "resources": {"gpu": gpu, **resources},
    }


def test_trials_go_where_they_end_sooner(address: str, datasets: Datasets, tmp_path: Path) -> None:
    study = check(values("auto"))
    search = Search(study, Storage(tmp_path / "trials.log", "a", directions=study.directions))
    devices = Devices(partial(work, study, datasets.parameters))
    records = Ended()
    with closing(RayRunner(datasets, study.resources, address)) as runner:
        Loop(study, search, runner, NoPruner(), records, lambda _: None, devices=devices).run()
    assert len(records.values) == TRIALS
    on_card = [records.values[number] for number in range(TRIALS)]
    assert {0, 1} <= set(on_card[:5])
    assert sum(on_card[-10:]) >= 8


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_when_the_machine_with_the_card_dies_its_trials_go_on(
    datasets: Datasets, tmp_path: Path
) -> None:
    """Both the one that it trains and the one that waits for it."""
    study = check(values("auto") | {"search": {"trials": 8, "sampler": "random"}})
    search = Search(study, Storage(tmp_path / "trials.log", "a", directions=study.directions))
    devices = Devices(lambda config, replicates: Work(0, 1.0, 1))
    for number in range(4):  # what is known: that it pays to wait for the card
        card = devices.card(number, {}, 1, slots=2, cards=1, now=0.0)
        devices.took(number, 0.1 if card else 1000.0, epochs=1)
        devices.left(number)
    records = Ended()
    with machines(num_cpus=2) as made:
        node = made.add_node(num_cpus=1, num_gpus=1)
        made.wait_for_nodes()

        def watch(_: Standing) -> None:
            if len(records.values) == 2 and len(made.list_all_nodes()) == 2:
                made.remove_node(node, allow_graceful=False)

        with closing(RayRunner(datasets, study.resources, made.address)) as runner:
            assert runner.cards() == 1
            loop = Loop(study, search, runner, NoPruner(), records, watch, devices=devices)
            loop.run()
    found = [records.values[number] for number in range(8)]
    assert 1.0 in found
    assert found[-1] == 0.0


def test_links_take_a_card_only_if_they_are_told(address: str, datasets: Datasets) -> None:
    study = check(values("auto"))
    with closing(RayRunner(datasets, study.resources, address)) as runner:
        assert (runner.slots(), runner.cards()) == (3, 1)
        for number, gpu in enumerate((True, False, True)):
            runner.submit(Link(number, study.first_config(), 1, 0, 1, gpu=gpu))
        outcomes: list[Any] = []
        while len(outcomes) < 3:
            outcomes += runner.wait(0.2)
        found = {each.number: each.metrics["val_accuracy"][0] for each in outcomes}
        assert found == {0: 1, 1: 0, 2: 1}


def test_that_a_card_can_t_be_used_is_told(
    address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study = values("auto") | {"model": {"dropout": {"low": 0.0, "high": 0.5}}}
    del study["trainer"]
    finished = driver.run(study, trials=4, folder=str(tmp_path), address=address, quiet=True)
    assert finished.results.counts["complete"] == 4
    told = "warning: resources.gpu: auto: no card was used any more: "
    assert told in capfd.readouterr().err


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"gpu": 2}, "no machine has cpu 1 and gpu 2"),
        ({"gpu": 0, "memory": 1e6}, r"no machine has .* and 1e\+06 GiB of memory"),
        ({"gpu": "auto", "cpu": 4}, "no machine has cpu 4 and gpu 0"),
        ({"gpu": 0.5, "cpu": 0.5}, None),
    ],
)
def test_what_no_machine_has_is_refused(
    address: str, datasets: Datasets, resources: dict[str, Any], told: str | None
) -> None:
    study = check(values(**resources))
    if told is None:
        with closing(RayRunner(datasets, study.resources, address)) as runner:
            assert (runner.slots(), runner.cards()) == (2, 0)
    else:
        with pytest.raises(RayUnavailable, match=told):
            RayRunner(datasets, study.resources, address)
