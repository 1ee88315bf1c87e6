import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_fusion import UFUNCS, check_form
from tests.trainer.test_replicates import assert_same
from trainer import kernels
from trainer.data import Data
from trainer.training import train

numba = pytest.importorskip("numba", reason="the extra `fast` is not installed")

SOURCE = """def loop(R, N, D, a0):
    for d in range(D):
        a0[d] = float32(a0[d] * a0[d])
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels.compiled.cache_clear()


def squared() -> list[float]:
    x = np.arange(3, dtype=np.float32)
    one = np.uint64(1)
    kernels.compiled(SOURCE)(one, one, np.uint64(3), x)
    return list(x)


def test_a_loop_is_kept_on_disk() -> None:
    assert squared() == [0, 1, 4]
    (path,) = kernels.folder().glob("*.py")
    assert path.read_text().endswith(SOURCE)
    assert list((kernels.folder() / "__pycache__").glob("*.nbc")), "Numba's own cache"
    kernels.compiled.cache_clear()
    assert squared() == [0, 1, 4]
    assert len(list(kernels.folder().glob("*.py"))) == 1


def test_without_a_place_to_keep_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert squared() == [0, 1, 4]


def test_where_numba_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_path: Path) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(kernels, "_loaded", refuses)
    assert squared() == [0, 1, 4]


def test_several_at_once_leave_one_whole_file() -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(kernels._stored, ["text\n"] * 32))
    assert len(set(paths)) == 1
    assert paths[0].read_text() == "text\n"
    assert not list(kernels.folder().glob("*.partial"))


@pytest.mark.parametrize("function", UFUNCS)
def test_every_form_is_its_function(function: Any) -> None:
    check_form(function, kernels.compiled)


def test_training_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config({"activation": "elu", "batch_norm": "after", "dropout": 0.3})
    data = Data((fold(200),), 3)
    monkeypatch.setattr("trainer.group.FUSION_COST", 0)
    monkeypatch.setattr(kernels, "worth", lambda _seconds: True)
    fast = train(cfg, data, None, 3, seed=0, replicates=3)
    monkeypatch.setattr(kernels, "worth", lambda _seconds: False)
    plain = train(cfg, data, None, 3, seed=0, replicates=3)
    assert_same(fast.state, plain.state)
    assert_same(fast.history, plain.history)


def test_numba_starts_at_once_where_it_will_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(kernels, "START_SECONDS", 1.0)
    monkeypatch.setattr(kernels, "_forgone", 0.0)
    monkeypatch.setattr(kernels, "_expected", 0)
    kernels.expect(9)
    assert not kernels.worth(0.1)
    kernels.expect(10)
    assert kernels.worth(0.1)


def test_numba_starts_once_its_start_has_been_forgone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(kernels, "START_SECONDS", 1.0)
    monkeypatch.setattr(kernels, "_forgone", 0.0)
    monkeypatch.setattr(kernels, "_expected", 0)
    assert not kernels.worth(0.4)
    assert not kernels.worth(0.4)
    assert kernels.worth(0.4)
    monkeypatch.setattr(kernels, "_forgone", 0.0)
    monkeypatch.setitem(sys.modules, "numba", sys)
    assert kernels.worth(0.0)
