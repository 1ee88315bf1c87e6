"""The statistics on synthetic truth: differences whose distribution is known."""

import numpy as np
import pytest
from scipy.special import stdtrit

from sweep.answers.intervals import ERROR, LEAST, SPENT, Floats, interval, more_replicates, verdict

STUDIES = 1000
CLAIMS = 10
REPLICATES = (5, 10, 20)


def normal(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape)


def shared(seed: int, studies: int, replicates: int) -> Floats:
    """Differences between the options of one field: ten of them, each against the same eleventh."""
    arms = normal(seed, studies, CLAIMS + 1, replicates)
    return arms[:, :CLAIMS] - arms[:, CLAIMS:]


def test_the_interval_of_a_textbook_example() -> None:
    # Student (1908), "The probable error of a mean": additional hours of sleep, ten patients
    hours = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    found = interval(hours, error=0.05)
    assert found.mean == pytest.approx(1.58)
    assert (found.low, found.high) == pytest.approx((0.70011, 2.45989), abs=1e-4)


@pytest.mark.parametrize("replicates", REPLICATES)
def test_a_single_interval_covers_the_effect(replicates: int) -> None:
    effects = normal(1, STUDIES * CLAIMS)
    blocks = effects[:, None] + 0.3 * normal(2, STUDIES * CLAIMS, replicates)
    found = interval(blocks, error=ERROR)
    covered = (found.low <= effects) & (effects <= found.high)
    assert 0.935 <= covered.reshape(STUDIES, CLAIMS).mean() <= 0.965


@pytest.mark.parametrize("replicates", REPLICATES)
@pytest.mark.parametrize("arms", ["apart", "shared"])
def test_simultaneous_intervals_cover_all_effects(replicates: int, arms: str) -> None:
    studies = 20 * STUDIES  # of independent claims 95.1 % are covered: few studies can't tell
    noise = (
        normal(3, studies, CLAIMS, replicates)
        if arms == "apart"
        else shared(3, studies, replicates)
    )
    effects = normal(4, studies, CLAIMS)
    found = interval(effects[..., None] + noise, error=ERROR / CLAIMS)
    covered = ((found.low <= effects) & (effects <= found.high)).all(axis=1)
    standard_error = (0.05 * 0.95 / studies) ** 0.5
    assert covered.mean() >= 0.95 - 2 * standard_error
    assert covered.mean() <= 0.985  # and not by being as wide as one likes


@pytest.mark.parametrize("replicates", REPLICATES)
def test_simultaneous_intervals_of_a_thousand_studies_as_reports_give_them(
    replicates: int,
) -> None:
    """At the first look's share of the error, which most studies have no second of."""
    effects = normal(9, STUDIES, CLAIMS)
    blocks = effects[..., None] + normal(10, STUDIES, CLAIMS, replicates)
    found = interval(blocks, error=SPENT[0] * ERROR / CLAIMS)
    covered = ((found.low <= effects) & (effects <= found.high)).all(axis=1)
    assert 0.95 <= covered.mean() <= 0.98


@pytest.mark.parametrize("replicates", REPLICATES)
def test_without_an_effect_few_families_hold_a_false_verdict(replicates: int) -> None:
    blocks = shared(5, STUDIES, replicates)
    found = interval(blocks, error=ERROR / CLAIMS)
    false = sum(
        any(verdict(low, high, 0.0) != "undecided" for low, high in zip(lows, highs, strict=True))
        for lows, highs in zip(found.low, found.high, strict=True)
    )
    assert 0 < false <= 0.05 * STUDIES


@pytest.mark.parametrize("folds", [5, 10])
def test_folds_that_share_training_rows(folds: int) -> None:
    """Blocks with the correlation 1/k that Nadeau and Bengio assume of k folds."""
    correlation = 1 / folds
    common = normal(6, 10 * STUDIES, 1) * correlation**0.5
    blocks = common + normal(7, 10 * STUDIES, folds) * (1 - correlation) ** 0.5
    found = interval(blocks, error=ERROR, overlap=1 / (folds - 1))
    assert 0.945 <= ((found.low <= 0) & (found.high >= 0)).mean() <= 0.955
    naive = interval(blocks, error=ERROR)
    assert ((naive.low <= 0) & (naive.high >= 0)).mean() < 0.9


@pytest.mark.parametrize(
    ("low", "high", "margin", "said"),
    [
        (0.01, 0.05, 0.0, "supported"),
        (-0.05, -0.01, 0.0, "refuted"),
        (-0.01, 0.05, 0.0, "undecided"),
        (0.0, 0.05, 0.0, "undecided"),
        (0.0, 0.0, 0.0, "undecided"),
        (0.01, 0.05, 0.02, "undecided"),
        (0.01, 0.015, 0.02, "refuted"),  # there, but of no interest
        (0.03, 0.05, 0.02, "supported"),
    ],
)
def test_the_verdict_is_where_the_interval_lies(
    low: float, high: float, margin: float, said: str
) -> None:
    assert verdict(low, high, margin) == said


def test_how_many_more_replicates_would_decide() -> None:
    blocks = np.array([0.4, -0.5, 0.9, -0.3, 0.5, 0.2])
    more = more_replicates(blocks, 0.0, error=0.05)
    assert more is not None

    def half(count: int) -> float:
        quantile = float(stdtrit(count - 1, 0.975))
        return quantile * float(blocks.std(ddof=1)) / float(count**0.5)

    assert half(6 + more) < blocks.mean() < half(6 + more - 1)
    nearer = more_replicates(blocks, 0.1, error=0.05)
    assert nearer is not None
    assert nearer > more
    assert more_replicates(blocks, float(blocks.mean()), error=0.05) is None
    assert more_replicates(blocks[:1], 0.0, error=0.05) is None


def test_no_fewer_replicates_than_a_verdict_takes() -> None:
    assert more_replicates(np.array([1.0, 1.001]), 0.0, error=0.05) == LEAST - 2
