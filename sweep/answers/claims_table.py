"""The claims of a study and what was found about them, as a table."""

from collections.abc import Sequence

from sweep.answers.claims import CHOOSING, Finding
from sweep.answers.intervals import ERROR, SPENT
from sweep.answers.outcomes import ACCURACIES
from sweep.spec.claims import shown

HEAD = ("claim", "effect", "interval", "pairs", "verdict")
"""The columns of the table."""


def rows(found: Sequence[Finding]) -> list[list[str]]:
    """The cells of the table, a row a claim."""
    return [
        [
            f"{each.name} ({each.claim}{_chosen(each)})",
            _number(each.effect),
            _ends(each),
            str(each.pairs),
            verdict(each),
        ]
        for each in found
    ]


def verdict(found: Finding) -> str:
    """The verdict; if there is none, why not, and what would decide it."""
    if found.reason is None:
        return found.verdict
    more = found.more_replicates
    needed = "" if more is None else f"; about {more} more replicates would decide"
    return f"{found.verdict}: {found.reason}{needed}"


def note(found: Sequence[Finding]) -> str:
    """What the numbers of the table are."""
    counts = " or ".join(map(str, sorted({each.replicates for each in found})))
    shares = " + ".join(f"{share * ERROR:.1%}" for share in SPENT)
    return (
        "An effect is the first option minus the second: the mean over pairs of configurations "
        f"that are equal in all else, with {counts} replicates as blocks. The intervals of all "
        f"{len(found)} claims, at up to {len(SPENT)} looks ({shares} of error), hold together with "
        f"{1 - ERROR:.0%} confidence (Student's t, Bonferroni), for {found[0].covers}."
        f"{_on_choices(found)}{_on_divergence(found)}"
    )


def _chosen(found: Finding) -> str:
    """Which values were chosen for either option."""
    if found.chosen is None:
        return ""
    first, second = (" or ".join(map(shown, values)) for values in found.chosen)
    return f"; chosen {first} and {second}"


def _on_choices(found: Sequence[Finding]) -> str:
    if all(each.chosen is None for each in found):
        return ""
    return (
        " Where each option is taken at its best value of a field, the first replicates (one in "
        f"{CHOOSING}) chose that value and the others judged; the interval holds for the values "
        "chosen."
    )


def _on_divergence(found: Sequence[Finding]) -> str:
    count = max(each.diverged for each in found)
    if not count:
        return ""
    if not any(each.claim.startswith(ACCURACIES) for each in found):
        return (
            f" A trial that diverged (up to {count} a claim) has no mean loss and no mean R², so "
            "nothing is judged by these."
        )
    return (
        f" In a trial that diverged (up to {count} a claim) the replicate that did counts with the "
        "accuracy its weights then had, about that of guessing, and those cut short with anything "
        "from 0 to 1; the interval covers the effect whichever it is. By a loss, which has no mean "
        "there, nothing is judged."
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 12):+.4g}"  # 2e-17 is rounding


def _ends(found: Finding) -> str:
    return "–" if found.low is None else f"{_number(found.low)} … {_number(found.high)}"
