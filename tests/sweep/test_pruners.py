import binascii
import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import optuna
import pytest
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.trial import TrialState

from sweep.pruners import PRUNERS, Asha, Hyperband, Ladder, Median, NoPruner, Pruner
from sweep.spec.study import check
from trainer.rules import Technique

EPOCHS = 27
STUDY = "digits"

PAIRS: list[tuple[Pruner, BasePruner]] = [
    (Asha(3, 1), SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)),
    (Asha(2, 3), SuccessiveHalvingPruner(min_resource=3, reduction_factor=2)),
    (
        Hyperband(3, 1, EPOCHS, STUDY),
        HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=3),
    ),
    (
        Hyperband(2, 2, EPOCHS, STUDY),
        HyperbandPruner(min_resource=2, max_resource=EPOCHS, reduction_factor=2),
    ),
    (Median(3, 1, 5), MedianPruner(n_startup_trials=5)),
    (Median(2, 2, 1), MedianPruner(n_startup_trials=1)),
    (NoPruner(), NopPruner()),
]


def race(
    ours: Pruner, theirs: BasePruner, *, maximize: bool, seed: int, nan: float
) -> Iterator[tuple[int, int, bool, bool]]:
    """Many trials side by side in random order: (trial, epoch, we keep it, Optuna keeps it)."""
    chance = np.random.default_rng(seed)
    study = optuna.create_study(
        study_name=STUDY,
        direction="maximize" if maximize else "minimize",
        pruner=theirs,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    ladder = Ladder(maximize)
    running: dict[int, tuple[optuna.Trial, list[int]]] = {}
    for _ in range(250):
        if len(running) < 8:
            trial = study.ask()
            running[trial.number] = (trial, [*ours.rungs(trial.number, EPOCHS), EPOCHS])
        number = list(running)[chance.integers(len(running))]
        trial, rungs = running[number]
        epoch = rungs.pop(0)
        # of one decimal, so that many are equal
        value = math.nan if chance.random() < nan else round(chance.normal(0, 0.3), 1)
        ladder.record(number, epoch, value)
        trial.report(value, epoch)
        if not rungs:
            ladder.complete.add(number)
            study.tell(trial, 0.0, TrialState.COMPLETE)
            del running[number]
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, on medians of nothing
            kept = not trial.should_prune()
        yield number, epoch, ours.keeps(number, epoch, ladder), kept
        if not kept:
            study.tell(trial, state=TrialState.PRUNED)
            del running[number]


@pytest.mark.parametrize("nan", [0.0, 0.1])
@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda each: type(each).__name__)
def test_decisions_are_those_of_optuna(
    ours: Pruner, theirs: BasePruner, maximize: bool, nan: float
) -> None:
    decisions = []
    for seed in range(2):
        for number, epoch, mine, kept in race(ours, theirs, maximize=maximize, seed=seed, nan=nan):
            assert mine == kept, f"trial {number} at epoch {epoch}"
            decisions.append(kept)
    if isinstance(ours, NoPruner):
        assert not decisions
    else:
        assert 20 < sum(decisions) < len(decisions) - 20  # both decisions were seen


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 27, 50, 81, 100])
@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_hyperband_draws_the_brackets_of_optuna(epochs: int, reduction: int) -> None:
    theirs = HyperbandPruner(1, epochs, reduction)
    study = optuna.create_study(study_name="any name", pruner=theirs)
    for number in range(50):
        trial = study.ask()
        trial.report(0.0, epochs)
        trial.should_prune()  # makes the brackets
        bracket = theirs._get_bracket_id(study, study.get_trials(deepcopy=False)[number])
        assert Hyperband(reduction, 1, epochs, "any name").bracket(number) == bracket


def test_a_power_of_the_reduction_is_not_lost_to_rounding() -> None:
    """In floats log₃ 243 is below 5, so Optuna has no bracket that starts at 243 / 3⁰."""
    brackets = {Hyperband(3, 1, 243, "s").bracket(number) for number in range(3000)}
    assert brackets == set(range(6))


@pytest.mark.parametrize(
    ("pruner", "epochs", "rungs"),
    [
        (Asha(3, 1), 27, (1, 3, 9)),
        (Asha(3, 1), 28, (1, 3, 9, 27)),
        (Asha(2, 5), 20, (5, 10)),
        (Asha(3, 1), 1, ()),
        (Asha(3, 5), 5, ()),
        (Median(3, 2, 5), 27, (2, 6, 18)),
        (NoPruner(), 27, ()),
    ],
)
def test_rungs_lie_below_the_full_budget(
    pruner: Pruner, epochs: int, rungs: tuple[int, ...]
) -> None:
    assert pruner.rungs(0, epochs) == rungs


def test_a_bracket_starts_later_than_the_one_before() -> None:
    pruner = Hyperband(3, 1, 27, STUDY)
    expected: Sequence[tuple[int, ...]] = [(1, 3, 9), (3, 9), (9,), ()]
    seen = set()
    for number in range(200):
        bracket = pruner.bracket(number)
        assert pruner.rungs(number, 27) == expected[bracket]
        seen.add(bracket)
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("epochs", "reduction", "rungs"),
    [(27, 3, (9,)), (28, 3, (10,)), (100, 4, (25,)), (3, 3, (1,)), (2, 3, (1,)), (1, 3, ())],
)
def test_asha_judges_once_by_default(epochs: int, reduction: int, rungs: tuple[int, ...]) -> None:
    search = {"pruner": {"asha": {"reduction": reduction}}}
    study = check({"name": "a", "training": {"epochs": epochs}, "search": search})
    given = study.search.pruner
    assert PRUNERS["asha"].make(given, study.name, study.epochs).rungs(0, epochs) == rungs
    early = Technique("asha", {"reduction": reduction, "min_epochs": 1})
    assert PRUNERS["asha"].make(early, study.name, epochs).rungs(0, 9)[0] == 1


def test_a_first_rung_beyond_the_budget_prunes_nothing() -> None:
    given = Technique("hyperband", {"reduction": 3, "min_epochs": 100})
    pruner = PRUNERS["hyperband"].make(given, "s", 27)
    assert [pruner.rungs(number, 27) for number in range(20)] == [()] * 20


def test_hyperband_compares_within_a_bracket() -> None:
    pruner = Hyperband(3, 1, 27, STUDY)
    first, *others = [number for number in range(200) if pruner.bracket(number) == 1]
    ladder = Ladder(maximize=True)
    for number in set(range(200)) - {first, *others}:
        ladder.record(number, 3, 1.0)  # better, but in other brackets
    for number in others[:5]:
        ladder.record(number, 3, 0.1)
    ladder.record(first, 3, 0.2)
    assert pruner.keeps(first, 3, ladder)
    ladder.record(others[0], 3, 0.15)
    assert pruner.keeps(others[0], 3, ladder)
    ladder.record(others[1], 3, 0.12)
    assert not pruner.keeps(others[1], 3, ladder)


@pytest.mark.parametrize("pruner", [Asha(3, 1), Hyperband(3, 1, 27, STUDY), Median(3, 1, 1)])
def test_a_trial_without_a_number_does_not_go_on(pruner: Pruner) -> None:
    ladder = Ladder(maximize=True)
    ladder.record(0, 9, math.nan)
    ladder.complete.add(1)
    ladder.record(1, 9, 0.5)
    assert not pruner.keeps(0, 9, ladder)


def test_a_ladder_as_a_trial_may_see_it() -> None:
    ladder = Ladder(maximize=False)
    for number in range(8):
        ladder.record(number, 1, number / 10)
    for number in (0, 4, 5, 7):
        ladder.record(number, 3, number / 100)
    ladder.complete |= {0, 4, 5}
    assert ladder.seen_by(7, 3) == Ladder(
        maximize=False,
        values={1: {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 7: 0.7}, 3: {0: 0.0, 4: 0.04, 7: 0.07}},
        complete={0, 4},
    )


def test_the_bracket_of_a_trial_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision among many trials must not cost a draw for each of them."""
    draws = []
    crc32 = binascii.crc32

    def counted(text: bytes) -> int:
        draws.append(text)
        return crc32(text)

    monkeypatch.setattr(binascii, "crc32", counted)
    pruner = Hyperband(3, 1, 27, STUDY)
    ladder = Ladder(maximize=True)
    for number in range(300):
        ladder.record(number, 9, number / 300)
        pruner.keeps(number, 9, ladder)
    assert len(draws) == 300


@pytest.mark.parametrize("name", PRUNERS)
def test_a_study_makes_its_pruner(name: str) -> None:
    study = check({"name": "a", "search": {"pruner": name}, "training": {"epochs": 27}})
    pruner = PRUNERS[name].make(study.search.pruner, study.name, study.epochs)
    expected = {
        "asha": Asha(3, 9),
        "hyperband": Hyperband(3, 1, 27, "a"),
        "median": Median(3, 1, 5),
        "none": NoPruner(),
    }
    assert pruner == expected[name]
