"""Which options fall ill with what: the diagnoses of trials, counted by group."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sweep.answers.results import Results, TrialResult
from sweep.spec import space
from sweep.spec.claims import shown

ILLS = {
    "gradients vanish": "vanishing gradients",
    "gradients explode": "exploding gradients",
    "units die": "is dead",
    "units saturate": "is saturated",
    "variance shifts": "variance shift",
    "does not fit train": "does not fit train",
    "overfits": "not validation",
    "diverges": "diverged at",
}
"""What can befall a trial, and the words by which its diagnosis or its reason says so."""

LAYERED = ("units die", "units saturate", "variance shifts")
"""Of which the diagnosis names the layers."""

MOST_OPTIONS = 12
"""Fields with more options are left out."""


@dataclass(frozen=True)
class Group:
    """The trials with one option.

    Attributes:
        field: the name of the parameter.
        option: as a study file has it.
        trials: how many have trained for an epoch at least, or have diverged before.
        ills: how many of them fell ill with each of `ILLS`, by its name; absent if none.
        layers: which hidden layers did in any of them, from 1 at the input.
    """

    field: str
    option: str
    trials: int
    ills: dict[str, int]
    layers: dict[str, tuple[int, ...]]


def groups(results: Results) -> list[Group]:
    """The options of every field that is a choice or that a claim compares."""
    compared = {name for claim in results.study.claims for name in claim.fields}
    told = [each for each in results.trials if each.epoch or _said(each)]
    found = []
    for parameter in results.study.parameters():
        options = parameter.points()
        chosen = isinstance(parameter, space.Choose) or parameter.name in compared
        if not chosen or options is None or len(options) > MOST_OPTIONS:
            continue
        for option in options:
            mine = [each for each in told if (parameter.name, option) in each.params.items()]
            if mine:
                found.append(_group(parameter.name, shown(option), mine))
    return found


def _group(field: str, option: str, trials: Sequence[TrialResult]) -> Group:
    ills, layers = {}, {}
    for ill, words in ILLS.items():
        said = [[text for text in _said(each) if words in text] for each in trials]
        if any(said):
            ills[ill] = sum(map(bool, said))
        if ill in LAYERED:
            texts = " ".join(text for each in said for text in each)
            named = re.findall(r"(?:layer|batch norm) (\d+)", texts)
            layers[ill] = tuple(sorted(set(map(int, named))))
    return Group(field, option, len(trials), ills, layers)


def _said(trial: TrialResult) -> list[str]:
    return [*trial.diagnosis, *([trial.reason] if trial.reason else [])]


def table(found: Sequence[Group]) -> tuple[list[str], list[list[str]]] | None:
    """The head and the body of a table; None where no trial fell ill."""
    ills = [ill for ill in ILLS if any(ill in each.ills for each in found)]
    if not ills:
        return None
    head = ["field", "option", "trials", *ills]
    return head, [
        [each.field, each.option, str(each.trials), *(_cell(each, ill) for ill in ills)]
        for each in found
    ]


def _cell(group: Group, ill: str) -> str:
    count = group.ills.get(ill, 0)
    if not count:
        return "–"
    layers = group.layers.get(ill, ())
    where = f" (layer{'s' * (len(layers) > 1)} {_ranges(layers)})" if layers else ""
    return f"{count}{where}"


def _ranges(numbers: Sequence[int]) -> str:
    """Such as `1-3, 5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
