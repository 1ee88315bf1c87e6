"""The studies in the box: what each asks, what it costs and what it needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweep.spec.contradictions import EXTRAS
from sweep.spec.study import Study, check
from sweep.spec.study_file import load
from trainer.rules import ConfigError

_INSTALLED, _CHECKOUT = (folder / "studies" for folder in Path(__file__).parents[1:3])
STUDIES = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
"""Where they are: in the package when it is installed, beside it in a checkout."""

BUNDLED = ("digits", "diabetes")
"""Sources that ship with scikit-learn."""


@dataclass(frozen=True)
class Entry:
    """A study file.

    Attributes:
        name: the study's.
        file: its path.
        question: what it asks.
        claims: the names of its claims.
        trials: how many configurations it trains.
        replicates: of each, at all looks at the claims together.
        epochs: the most that a trial is trained for; pruning and early stopping make it fewer.
        needs: what must be there beside the locked packages.
        problem: the mistakes that keep it from being run here, if there are any.
    """

    name: str
    file: str
    question: str
    claims: tuple[str, ...] = ()
    trials: int = 0
    replicates: int = 0
    epochs: int = 0
    needs: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def cost(self) -> int:
        """The most epochs that are trained in all, those of every replicate counted."""
        return self.trials * self.replicates * self.epochs


def catalogue(folder: Path = STUDIES) -> list[Entry]:
    """Every study file in a folder, by its file's name.

    Raises:
        ConfigError: a file can't be read, or is no mapping of fields.
    """
    return [_entry(file) for file in sorted(folder.glob("*.yaml"))]


def _entry(file: Path) -> Entry:
    values = load(file)
    try:
        study = check(values)
    except ConfigError as error:
        name, question = values.get("name", file.stem), values.get("question", "")
        return Entry(str(name), str(file), str(question), problem=str(error))
    return Entry(
        study.name,
        str(file),
        study.question,
        tuple(claim.name for claim in study.claims),
        study.target // study.search.looks,
        study.replicates * 2 ** (study.search.looks - 1),
        study.epochs,
        tuple(_needs(study)),
    )


def _needs(study: Study) -> Iterator[str]:
    if study.data.source not in BUNDLED:
        yield f"data.source ({study.data.source})"
    if study.trainer is not None:
        yield f"--allow-code {study.trainer.partition(':')[0]}"
    for name in study.starts():
        yield f"the model {name}"
    if study.search.sampler.name in EXTRAS:
        yield f"the extra {study.search.sampler.name}"
    if study.resources.cards:
        yield f"{study.resources.cards:g} GPU a trial"
