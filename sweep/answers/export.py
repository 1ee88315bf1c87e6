"""The winning model as files: its weights and its configuration."""

import shutil
from pathlib import Path

from sweep.answers.results import Results
from sweep.spec.study_file import dump
from sweep.workspace import StudyFolder
from trainer.rules import ConfigError, Problem


def export(results: Results, folder: StudyFolder, target: Path) -> None:
    """Writes `model.npz` and `config.yaml` of the winner into the folder `target`.

    Raises:
        ConfigError: the folder can't be written.
    """
    winner = results.best
    assert winner is not None
    try:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder.winner, target / "model.npz")
        text = dump(results.study.config(winner.params))
        (target / "config.yaml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(f"--export {target}", f"failed: {error.strerror}")]) from None
