"""A study on data from a user's own code, which is there for the driver and not for the workers."""

from tests.integration.conftest import SMOKE, Sweep

MODULE = """
import numpy as np


def rows():
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 300)
    return generator.normal(size=(300, 4)) + 5 * np.eye(3, 4)[y], y
"""


def test_it_trains(sweep: Sweep) -> None:
    (sweep.workspace.parent / "rose_garden.py").write_text(MODULE)
    source = "--set=data.source=rose_garden:rows"
    sweep("run", SMOKE, "--trials=1", source, "--allow-code=rose_garden")
    assert sweep.show("smoke")["test"]["mean"] > 0.8
