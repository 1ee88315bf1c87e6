"""A study that asks for a GPU where it cannot have one."""

import importlib.util
from typing import Any

import pytest

from sweep.datasets import Datasets
from sweep.scheduling.ray_runner import RayRunner, RayUnavailable
from sweep.scheduling.runner import Link, Raised, advance
from sweep.spec.study import Study, check
from tests.trainer.conftest import fold
from trainer.data import Data
from trainer.device import DeviceError, opened


@pytest.fixture
def study() -> Study:
    return check({"name": "small", "resources": {"gpu": 1}, "training": {"epochs": 1}})


def test_without_a_card_the_worker_says_so(study: Study) -> None:
    try:
        opened()
        pytest.skip("this machine has a GPU")
    except DeviceError as error:
        reason = str(error)
    link = Link(0, study.config({}), 1, seed=0, replicates=1, gpu=True)
    outcome, state = advance(link, Data((fold(),), 3), None)
    assert isinstance(outcome, Raised)
    assert outcome.error.rstrip().endswith(f"DeviceError: {reason}")
    assert state is None


def test_without_cupy_nothing_starts(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> Any:
        return None if name == "cupy" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    with pytest.raises(RayUnavailable, match=r"^resources\.gpu: .* install the extra `gpu`"):
        RayRunner(Datasets(study), study.resources, None)
