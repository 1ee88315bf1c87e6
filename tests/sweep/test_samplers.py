import importlib.util
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.search import samplers
from sweep.search.sampler import Params, Result, Sampler
from sweep.search.samplers import OptunaSampler, distribution, make
from sweep.spec import space
from sweep.spec.study import Study, check
from trainer.config import Config
from trainer.reading import read
from trainer.rules import Problem, Section

SAMPLERS = ["tpe", "random", "qmc", "cmaes"]
NO_TORCH = importlib.util.find_spec("torch") is None


def searched(values: dict[str, Any], sampler: str, seed: int = 0) -> Study:
    return check({**values, "search": {"sampler": sampler, "seed": seed, "trials": 100}})


def value(params: Params) -> float:
    """Some value in [0, 1) that depends on nothing but the parameters."""
    return zlib.crc32(repr(sorted(params.items())).encode()) / 2**32


def play(sampler: Sampler, trials: int) -> Iterator[Params]:
    """Asks for trials, two of which are always running, and ends them in different ways."""
    asked: list[Params] = []
    for number in range(trials + 2):
        if number < trials:
            params = sampler.ask(number)
            assert params is not None
            asked.append(params)
            yield params
        if number >= 2:
            ended = number - 2
            found = value(asked[ended])
            reports = {1: found} if ended % 5 else {}
            if ended % 3:
                sampler.tell(ended, Result(TrialState.COMPLETE, [found], reports))
            else:
                state = TrialState.PRUNED if ended % 2 else TrialState.FAIL
                sampler.tell(ended, Result(state, None, reports))


def past_trial(study: Study, params: Params, state: TrialState, found: float) -> FrozenTrial:
    by_name = {each.name: distribution(each) for each in study.parameters()}
    return create_trial(
        state=state,
        value=found if state is TrialState.COMPLETE else None,
        params=params,
        distributions={name: by_name[name] for name in params},
    )


def suggestions(study: Study, trials: int) -> list[Params]:
    return list(play(make(study, []), trials))


@pytest.mark.parametrize(
    "sampler",
    [*SAMPLERS, pytest.param("gp", marks=pytest.mark.skipif(NO_TORCH, reason="torch is an extra"))],
)
def test_suggestions_lie_in_the_space(digits: dict[str, Any], sampler: str) -> None:
    study = searched(digits, sampler)
    by_name = {each.name: distribution(each) for each in study.parameters()}
    found = suggestions(study, 18)
    for params in found:
        left = dict(params)
        plain = space.resolve(study.template, lambda each: left.pop(each.name))  # noqa: B023
        assert not left  # nothing is suggested that has no effect
        problems: list[Problem] = []
        assert plain.pop("data") == {"preprocess": "standardize"}
        assert read(Section(Config), plain, "", problems) == plain
        assert not problems
        for name, chosen in params.items():
            assert by_name[name]._contains(by_name[name].to_internal_repr(chosen))
    assert len({repr(params) for params in found}) == len(found)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_decides_all_suggestions(digits: dict[str, Any], sampler: str) -> None:
    first = suggestions(searched(digits, sampler, seed=3), 13)
    np.random.default_rng().random()
    np.random.seed(int(time.time()))  # noqa: NPY002 - the global generator must not matter
    assert suggestions(searched(digits, sampler, seed=3), 13) == first
    assert suggestions(searched(digits, sampler, seed=4), 13) != first


def test_numbers_are_plain(digits: dict[str, Any]) -> None:
    digits = {**digits, "training": {**digits["training"], "epochs": {"low": 3, "high": 9}}}
    for sampler in SAMPLERS:
        for params in suggestions(searched(digits, sampler), 12):
            assert {type(chosen) for chosen in params.values()} <= {int, float, str, bool}
            assert type(params["training.epochs"]) is int


@pytest.fixture
def complaints(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What Optuna logs from a warning upwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        yield lambda: [record.getMessage() for record in caplog.records]
    optuna.logging.disable_propagation()
    optuna.logging.set_verbosity(before)


def test_tpe_samples_a_conditional_space_without_complaint(
    digits: dict[str, Any], complaints: Callable[[], list[str]]
) -> None:
    suggestions(searched(digits, "tpe"), 40)
    assert complaints() == []


def test_tpe_learns_how_parameters_go_together() -> None:
    """Good trials lie on the diagonal of the square; a sampler of single ones can't see that."""
    study = check(
        {
            "name": "a",
            "model": {
                "dropout": {"low": 0, "high": 0.9},
                "activation": {"choose": ["relu", {"elu": {"alpha": {"low": 0.1, "high": 1}}}]},
            },
            "training": {"learning_rate": {"low": 0.1, "high": 1}},
        }
    )
    chance = np.random.default_rng(0)
    past = []
    for number in range(150):
        params: Params = {
            "model.dropout": float(chance.uniform(0, 0.9)),
            "model.activation": "elu" if number % 2 else "relu",
            **({"model.activation.elu.alpha": 0.5} if number % 2 else {}),
            "training.learning_rate": float(chance.uniform(0.1, 1)),
        }
        away = abs(params["model.dropout"] + 0.1 - params["training.learning_rate"])  # type: ignore[operator]
        past.append(past_trial(study, params, TrialState.COMPLETE, -away))
    sampler = make(study, past)
    points = []
    for number in range(150, 210):
        asked = sampler.ask(number)
        assert asked is not None
        sampler.tell(number, Result(TrialState.FAIL, None, {}))
        points.append([asked["model.dropout"], asked["training.learning_rate"]])
    assert np.corrcoef(np.array(points).T)[0, 1] > 0.8


def test_tpe_keeps_away_from_running_trials(digits: dict[str, Any]) -> None:
    study = searched(digits, "tpe")
    asked = suggestions(studied := searched(digits, "random"), 30)
    assert studied.template == study.template
    done = [past_trial(study, params, TrialState.COMPLETE, value(params)) for params in asked[:20]]

    def then(state: TrialState) -> Params | None:
        return make(study, done + [past_trial(study, each, state, 0) for each in asked[20:]]).ask(
            30
        )

    assert then(TrialState.FAIL) == then(TrialState.FAIL)
    assert then(TrialState.RUNNING) != then(TrialState.FAIL)


def test_a_pruned_trial_counts_with_its_values_at_rungs(digits: dict[str, Any]) -> None:
    sampler = make(searched(digits, "tpe"), [])
    assert isinstance(sampler, OptunaSampler)
    sampler.ask(0)
    sampler.tell(0, Result(TrialState.PRUNED, None, {1: 0.25, 3: 0.5}))
    sampler.ask(1)
    trial, _ = sampler._study.get_trials()
    assert trial.state is TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.25, 3: 0.5}


@pytest.mark.parametrize("maximize", [True, False])
def test_tpe_is_shown_the_best_the_newest_and_the_running(
    digits: dict[str, Any], monkeypatch: pytest.MonkeyPatch, maximize: bool
) -> None:
    monkeypatch.setattr(samplers, "BEST", 3)
    monkeypatch.setattr(samplers, "NEWEST", 4)
    goal = {"metric": "val_loss", "direction": "maximize" if maximize else "minimize"}
    sampler = make(searched({**digits, "objective": goal}, "tpe"), [])
    assert isinstance(sampler, OptunaSampler)
    chance = np.random.default_rng(0)
    for number in range(20):
        sampler.ask(number)
    values = [float(each) for each in chance.random(20).round(1)]  # with equals among them
    for number in map(int, chance.permutation([each for each in range(20) if each not in (2, 18)])):
        state = TrialState.FAIL if number in (17, 5) else TrialState.COMPLETE
        found = values[number] if state is TrialState.COMPLETE else None
        sampler.tell(number, Result(state, found if found is None else [found], {}))
    sampler.ask(20)
    earlier = [each for each in range(15) if each not in (2, 5)]
    best = sorted(earlier, key=lambda each: (-values[each] if maximize else values[each], each))[:3]
    shown = sampler._study.get_trials()
    assert [each.number for each in shown] == sorted({*best, 15, 16, 17, 19, 2, 18, 20})
    complete = sampler._study.get_trials(states=(TrialState.COMPLETE,))
    assert [each.number for each in complete] == sorted({*best, 15, 16, 19})


def test_tpe_learns_how_the_parameters_of_a_technique_go_together() -> None:
    """Those that are there in some trials only are sampled jointly as well."""
    beta = {"low": 0.0, "high": 0.9}
    study = check(
        {
            "name": "a",
            "training": {
                "optimizer": {"choose": ["sgd", {"adam": {"beta1": beta, "beta2": beta}}]}
            },
        }
    )
    chance = np.random.default_rng(0)
    past = []
    for number in range(200):
        params: Params = {"training.optimizer": "sgd"}
        away = 1.0
        if number % 2:
            first, second = map(float, chance.uniform(0, 0.9, 2))
            params = {
                "training.optimizer": "adam",
                "training.optimizer.adam.beta1": first,
                "training.optimizer.adam.beta2": second,
            }
            away = abs(first - second)
        past.append(past_trial(study, params, TrialState.COMPLETE, -away))
    sampler = make(study, past)
    points = []
    for number in range(200, 250):
        asked = sampler.ask(number)
        assert asked is not None
        sampler.tell(number, Result(TrialState.FAIL, None, {}))
        if asked["training.optimizer"] == "adam":
            points.append([asked[f"training.optimizer.adam.{name}"] for name in ("beta1", "beta2")])
    assert len(points) > 20
    assert np.corrcoef(np.array(points, dtype=float).T)[0, 1] > 0.8


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_reproducible_suggestions_do_not_depend_on_what_was_quicker(
    digits: dict[str, Any], sampler: str
) -> None:
    def play_in(order: np.random.Generator, study: Study) -> list[Params]:
        """Which trial ends next is drawn; n starts when all up to n - 4 have ended."""
        found, running, one = list[Params](), list[int](), make(study, [])
        for number in range(24):
            while running and (running[0] <= number - 4 or order.random() < 0.4):
                late = running[0] <= number - 4
                ended = running.pop(0 if late else order.integers(len(running)))
                score = value(found[ended])
                one.tell(ended, Result(TrialState.COMPLETE, [score], {1: score}))
            params = one.ask(number)
            assert params is not None
            found.append(params)
            running.append(number)
        return found

    fields = {"sampler": sampler, "trials": 100}
    strict = check({**digits, "search": {**fields, "reproducible": True, "lag": 4}})
    first = play_in(np.random.default_rng(0), strict)
    for seed in range(1, 4):
        assert play_in(np.random.default_rng(seed), strict) == first
    loose = check({**digits, "search": fields})
    runs = {repr(play_in(np.random.default_rng(seed), loose)) for seed in range(4)}
    assert len(runs) > 1


# Designs


DESIGN = {
    "name": "a",
    "model": {
        "init": {"choose": ["normal", "he_normal"]},
        "activation": {"choose": ["relu", {"maxout": {"pieces": {"low": 2, "high": 4}}}]},
        "dropout": {"low": 0.1, "high": 0.3, "step": 0.1},
    },
}


def test_a_grid_is_walked_in_the_order_of_the_file() -> None:
    study = searched(DESIGN, "grid")
    sampler = make(study, [])
    found = [sampler.ask(number) for number in range(24)]
    assert found == list(space.cells(study.template))
    assert found[0] == {
        "model.activation": "relu",
        "model.init": "normal",
        "model.dropout": 0.1,
    }
    assert sampler.ask(24) is None
    assert sampler.ask(25) is None


def test_a_factorial_design_is_every_combination_once_in_a_seeded_order() -> None:
    study = searched(DESIGN, "factorial")
    sampler, again = make(study, []), make(study, [])
    other = make(searched(DESIGN, "factorial", seed=1), [])
    found = [sampler.ask(number) for number in range(24)]
    cells = list(space.cells(study.template))
    assert sorted(map(repr, found)) == sorted(map(repr, cells))
    assert found != cells
    assert [again.ask(number) for number in range(24)] == found
    assert [other.ask(number) for number in range(24)] != found
    assert sampler.ask(24) is None


def test_a_factorial_design_keeps_what_claims_compare_together() -> None:
    claim = {
        "name": "claim",
        "compare": {"model.activation": ["relu", "maxout"]},
        "expect": "maxout > relu",
    }
    activation = {"choose": ["relu", "tanh", {"maxout": {"pieces": {"choose": [2, 3]}}}]}
    model = {"activation": activation, "init": {"choose": ["normal", "he_normal", "xavier_normal"]}}
    study = searched({"name": "a", "model": model, "claims": [claim]}, "factorial")
    sampler = make(study, [])
    found = [sampler.ask(number) or {} for number in range(12)]
    assert sorted(map(repr, found)) == sorted(map(repr, space.cells(study.template)))
    blocks = [found[first : first + 4] for first in (0, 4, 8)]
    inits = [{params["model.init"] for params in block} for block in blocks]
    assert [len(init) for init in inits] == [1, 1, 1]
    orders = [[str(params["model.activation"]) for params in block] for block in blocks]
    assert [sorted(order) for order in orders] == [["maxout", "maxout", "relu", "tanh"]] * 3
    assert orders[0] != orders[1] or orders[1] != orders[2]


def test_quasi_random_points_fill_the_space_evenly(digits: dict[str, Any]) -> None:
    sampler = make(searched(digits, "qmc"), [])
    asked = [sampler.ask(number) or {} for number in range(128)]
    rates = np.array([params["model.dropout"] for params in asked], dtype=float) / 0.7
    assert sorted(np.floor(rates * 128)) == list(range(128))  # one in each of 128 strata
    speeds = np.log10(np.array([params["training.learning_rate"] for params in asked], dtype=float))
    assert sorted(np.floor((speeds + 4) / 3 * 128)) == list(range(128))
    norms = [params["model.batch_norm"] for params in asked]
    assert all(42 <= norms.count(each) <= 43 for each in ("none", "before", "after"))


def test_quasi_random_points_of_every_kind_of_range() -> None:
    study = searched(
        {
            "name": "a",
            "model": {
                "hidden": [{"low": 1, "high": 4, "log": True}],
                "dropout": {"low": 0.1, "high": 0.7, "step": 0.1},
            },
            "training": {"epochs": {"low": 3, "high": 9, "step": 2}},
        },
        "qmc",
    )
    sampler = make(study, [])
    asked = [sampler.ask(number) or {} for number in range(128)]
    assert {params["training.epochs"] for params in asked} == {3, 5, 7, 9}
    assert {params["model.dropout"] for params in asked} == {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7}
    widths = [params["model.hidden.0"] for params in asked]
    # log 1.5/0.5 : log 2.5/1.5 : log 3.5/2.5 : log 4.5/3.5
    assert [widths.count(width) for width in (1, 2, 3, 4)] == pytest.approx([64, 30, 20, 15], abs=1)


def test_a_space_without_parameters_still_has_trials() -> None:
    for sampler in SAMPLERS:
        assert suggestions(searched({"name": "a"}, sampler), 3) == [{}, {}, {}]
    grid = make(searched({"name": "a"}, "grid"), [])
    assert [grid.ask(0), grid.ask(1)] == [{}, None]
