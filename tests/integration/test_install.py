"""What `pip install .` brings is whole: the code, and the studies in the box."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sweep.spec.catalogue import catalogue
from tests.integration.conftest import ROOT

SOURCES = ("sweep", "trainer", "studies")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of packages after an install that is not editable."""
    folder = tmp_path_factory.mktemp("install")
    source = folder / "source"
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    zipfile.ZipFile(wheel).extractall(site)
    return site


def test_every_module_is_in_it(installed: Path) -> None:
    for name in ("sweep", "trainer"):
        modules = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*.py")}
        assert {path.relative_to(installed) for path in (installed / name).rglob("*.py")} == modules


def test_the_studies_are_found(installed: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "sweep", "studies", "--json"],
        cwd=installed.parent,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
    )
    entries = json.loads(found.stdout)
    assert [each["name"] for each in entries] == [each.name for each in catalogue()]
    assert all(each["file"].startswith(str(installed)) for each in entries)


def test_the_default_study_is_found(installed: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from sweep import driver; print(driver.DEFAULT_STUDY.exists())"],
        cwd=installed.parent,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout == "True\n"
