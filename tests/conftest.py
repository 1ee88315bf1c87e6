"""Studies that many tests need; nothing here starts Ray or MLflow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from sweep.spec.study import Study, check
from sweep.spec.study_file import load

hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")

STUDIES = Path(__file__).parents[1] / "studies"


@pytest.fixture
def make_study() -> Callable[..., Study]:
    """Makes a checked study called `test` from the fields given."""

    def make(**fields: Any) -> Study:
        return check({"name": "test", **fields})

    return make


@pytest.fixture(scope="session")
def digits() -> dict[str, Any]:
    """The plain values of the default study: a conditional space of nine parameters."""
    return load(STUDIES / "digits.yaml")
