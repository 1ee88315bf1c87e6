"""Advice: from where a study's best trials lie and what ails them, the study to run next.

The best trials are the best quarter of those complete, at least three if there are as many. Every
change is made only if the study file still passes `check` with it.
"""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.answers.results import Results, TrialResult
from sweep.spec import space
from sweep.spec.claims import shown
from sweep.spec.contradictions import LISTED
from sweep.spec.study import check
from sweep.spec.study_file import assign, dump
from trainer.rules import ConfigError

EDGE = 0.1
"""Share of a range, at either end, in which the median of the best says that more lies beyond."""

TRIED = 3
"""Complete trials that an option must have had before it is left out."""

CURES: Mapping[str, tuple[str, Any]] = {
    "regularise": ("model.dropout", [0.0, 0.2, 0.5]),
    "does not fit": ("model.batch_norm", ["none", "before", "after"]),
    "vanishing": ("model.batch_norm", ["none", "before", "after"]),
    "exploding": ("training.clip_norm", [None, 1.0]),
    "dead": ("model.activation", ["relu", "leaky_relu", "elu"]),
    "saturated": ("model.batch_norm", ["none", "before"]),
    "variance shift": ("model.dropout.where", ["all", "after_last_bn"]),
}
"""What to try against an illness, by a word of its diagnosis; only a field that isn't searched."""


@dataclass(frozen=True)
class Change:
    """A field of the next study, its distribution, and why."""

    path: str
    value: Any
    why: str


def advise(results: Results) -> str:
    """The next study as a YAML text, with the reasons as comments before it.

    Raises:
        ValueError: no trial has completed.
    """
    ranked = results.ranked()
    if not ranked:
        raise ValueError(f"no trial of {results.study.name!r} has completed")
    best = ranked[: max(TRIED, math.ceil(len(ranked) / 4))]
    values = {key: value for key, value in results.study.values.items() if key != "claims"}
    values["name"] = f"{results.study.name[:95]}-next"
    if "search" in values:  # looks belong to claims
        values["search"] = {key: each for key, each in values["search"].items() if key != "looks"}
    numbers = ", ".join(f"#{each.number}" for each in best[:10])
    more = f" and {len(best) - 10} more" if len(best) > 10 else ""
    reasons = [f"From the best {len(best)} of {len(ranked)} complete trials: {numbers}{more}."]
    values, why = _changed(values, _changes(results, ranked, best))
    if not why:
        values, why = _changed(values, [_more(results)])
    reasons += why or ["Nothing stands out: the same study again."]
    if results.study.claims:
        reasons.append("The claims are left out: they belong to the space that was searched.")
    return "\n".join(map(_comment, reasons)) + "\n" + dump(_sized(values))


def _changed(values: dict[str, Any], changes: Iterable[Change]) -> tuple[dict[str, Any], list[str]]:
    """The study with those of the changes that it allows, and why each was made."""
    reasons = []
    for change in changes:
        try:
            changed = assign(values, change.path, change.value)
            check(changed)
        except ConfigError:
            continue
        values = changed
        reasons.append(f"{change.path}: {change.why}")
    return values, reasons


def _changes(
    results: Results, ranked: Sequence[TrialResult], best: Sequence[TrialResult]
) -> Iterator[Change]:
    for parameter in results.study.parameters():
        found = [each.params[parameter.name] for each in best if parameter.name in each.params]
        given = _given(results.study.values, parameter.name)
        if not found or not isinstance(given, dict):
            continue
        if isinstance(parameter, space.Choose) and "choose" in given:
            tried = [each.params.get(parameter.name) for each in ranked]
            yield from _fewer(parameter, given["choose"], found, tried)
        elif isinstance(parameter, space.Range) and "low" in given and parameter.step is None:
            yield from _moved(parameter, sorted(map(float, found)))
    yield from _cures(results, best)


def _more(results: Results) -> Change:
    count = 2 * results.study.replicates
    return Change("replicates", count, "nothing stands out, so the same space, with twice as many")


def _given(values: Mapping[str, Any], path: str) -> Any:
    """What the study file has at a dotted path; None below a choice."""
    found: Any = values
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _fewer(
    parameter: space.Choose, given: list[Any], best: list[Any], tried: list[Any]
) -> Iterator[Change]:
    """Without the options that were tried enough and are not among the best."""
    out = [each for each in parameter.labels if each not in best and tried.count(each) >= TRIED]
    if out:
        kept = [
            each for label, each in zip(parameter.labels, given, strict=True) if label not in out
        ]
        why = f"none of the best has {' or '.join(map(shown, out))}, so left out"
        yield Change(parameter.name, {"choose": kept} if len(kept) > 1 else kept[0], why)


def _moved(parameter: space.Range, best: list[float]) -> Iterator[Change]:
    """Beyond the end at which the best lie, else narrowed to where they lie."""
    scale, back = (math.log, math.exp) if parameter.log else (float, float)
    low, high = scale(parameter.low), scale(parameter.high)
    width = high - low
    middle = scale(best[len(best) // 2])
    if middle > high - EDGE * width:
        ends, why = (
            (high - width / 2, high + width / 2),
            "the best lie at the upper end, so moved up",
        )
    elif middle < low + EDGE * width:
        ends, why = (
            (low - width / 2, low + width / 2),
            "the best lie at the lower end, so moved down",
        )
    else:
        least, most = scale(best[0]) - EDGE * width, scale(best[-1]) + EDGE * width
        ends = max(low, least), min(high, most)
        if ends == (low, high):
            return
        why = f"the best lie from {best[0]:.3g} to {best[-1]:.3g}, so narrowed"
    rounded: list[float] = [float(f"{back(end):.3g}") for end in ends]
    if parameter.integer:
        rounded = [round(end) for end in rounded]
    if rounded[0] < 0 <= parameter.low:
        rounded[0] = 0 if parameter.integer else 0.0
    log = {"log": True} if parameter.log else {}
    yield Change(parameter.name, {"low": rounded[0], "high": rounded[1]} | log, why)


def _cures(results: Results, best: Sequence[TrialResult]) -> Iterator[Change]:
    """Against what at least half of the best suffer from; of a user's trainer nothing is known."""
    if results.study.trainer is not None:
        return
    searched = {each.name for each in results.study.parameters()}
    for word, (path, options) in CURES.items():
        ill = [each for each in best if any(word in illness for illness in each.diagnosis)]
        if 2 * len(ill) < len(best) or path in searched:
            continue
        searched.add(path)
        said = next(illness for illness in ill[0].diagnosis if word in illness)
        yield Change(
            path, {"choose": options}, f"{len(ill)} of the best: {said} (#{ill[0].number})"
        )


def _sized(values: dict[str, Any]) -> dict[str, Any]:
    """With as many trials as there are combinations, where the sampler lists them."""
    study = check(values)
    if study.search.sampler.name not in LISTED:
        return values
    return assign(values, "search.trials", space.count(study.template))


def _comment(text: str) -> str:
    return textwrap.fill(text, 98, initial_indent="# ", subsequent_indent="#   ")
