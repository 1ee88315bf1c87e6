"""Several objectives and constraints: in the study file, the loop, the search and the results."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from sweep.answers.answer import answer
from sweep.answers.evidence import Evidence
from sweep.answers.pareto import chart, painted
from sweep.answers.results import Results, TrialResult
from sweep.datasets import Datasets
from sweep.figures import figure
from sweep.nets import Nets
from sweep.scheduling.runner import Link, NetMaker, Outcome
from sweep.search.sampler import Result
from sweep.search.samplers import make
from sweep.search.search import Search
from sweep.search.storage import Storage
from sweep.search.trial import Event, State
from sweep.spec.objectives import Constraint, excesses
from sweep.spec.study import Study, check
from trainer.config import Config
from trainer.rules import ConfigError, build
from trainer.training import train

MakeStudy = Callable[..., Study]
BOTH = [{"metric": "val_accuracy"}, {"metric": "parameters"}]
SPACE = {"model": {"dropout": {"low": 0, "high": 0.9}}}


def problems(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check({"name": "a", **values})
    return [str(each) for each in caught.value.problems]


def test_one_objective_may_be_a_list() -> None:
    listed = check({"name": "a", "objective": [{"metric": "val_loss"}]})
    alone = check({"name": "a", "objective": {"metric": "val_loss"}})
    assert listed.objectives == alone.objectives
    assert (listed.metric, listed.maximize, listed.directions) == ("val_loss", False, ("minimize",))
    assert listed.search.pruner.name == "asha"


def test_several_objectives_have_no_pruner_by_default() -> None:
    study = check({"name": "a", "objective": BOTH})
    assert study.search.pruner.name == "none"
    assert check({"name": "a", "objective": BOTH, "search": None}).search.pruner.name == "none"
    assert study.directions == ("maximize", "minimize")
    assert study.order([0.9, 100.0], 3) == (-0.9, 100.0, 3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"objective": []}, "objective: must be a list of at least 1, got []"),
        (
            {"objective": BOTH, "search": {"pruner": "asha"}},
            "search.pruner: must be none with several objectives",
        ),
        ({"objective": [*BOTH, BOTH[0]]}, "objective.2.metric: is that of an earlier objective"),
        ({"constraints": ["accuracy > 3"]}, "constraints.0: must read METRIC <= NUMBER"),
        ({"constraints": ["parameters <= nan"]}, "constraints.0: must read METRIC <= NUMBER"),
        ({"constraints": ["parameter <= 3"]}, "constraints.0: names no metric"),
        ({"constraints": "parameters <= 3"}, "constraints: must be a list"),
        (
            {"constraints": ["predict_seconds <= 1"], "search": {"reproducible": True}},
            "constraints.0: must not be a time with search.reproducible",
        ),
    ],
)
def test_what_can_not_be(values: dict[str, Any], said: str) -> None:
    (problem,) = problems(values)
    assert problem.startswith(said)


@pytest.mark.parametrize(
    "values", [{"objective": BOTH}, {"constraints": ["parameters <= 100"], "search": {}}]
)
def test_what_cma_es_can_not_do(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.spec.contradictions.EXTRAS", {})
    search = {"sampler": "cmaes", "pruner": "none"}
    (problem,) = problems({**values, "search": search})
    assert problem.startswith("search.sampler: can't search with")


def test_a_constraint_measures_how_far_it_is_broken() -> None:
    most, least = check(
        {"name": "a", "constraints": ["parameters <= 1e5", "val_accuracy>=.9"]}
    ).constraints
    assert (str(most), str(least)) == ("parameters <= 100000", "val_accuracy >= 0.9")
    assert most.broken(123456.0) == "parameters 123456 > 100000"
    metrics = {"parameters": [2e5, 2e5], "val_accuracy": [0.9, 1.0]}
    assert excesses([most, least], metrics) == pytest.approx(
        {"parameters <= 100000": 1e5, "val_accuracy >= 0.9": -0.05}
    )
    assert excesses([least], {"val_accuracy": [float("nan"), 1.0]}) == {}
    assert excesses([Constraint("val_loss", True, 1.0)], metrics) == {}


# The search


def test_a_study_with_several_objectives_goes_through_its_storage(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    study = make_study(
        **SPACE, objective=BOTH, constraints=["parameters <= 50"], search={"trials": 4}
    )
    path = tmp_path / "trials.log"
    search = Search(study, Storage(path, study.name, directions=study.directions))
    for scores in ([0.5, 50.0], [0.75, 99.0], [0.5, 20.0]):
        trial = search.ask()
        assert trial is not None
        search.start(trial)
        trial.happens(Event.SUBMIT)
        trial.values, trial.others = [scores[0]], scores[1:]
        trial.excess = excesses(study.constraints, {"parameters": scores[1:]})
        search.report(trial)
        trial.happens(Event.FINISH)
        search.end(trial)
    stored = Storage(path, study.name)
    trials = stored.trials()
    assert [each.values for each in trials] == [[0.5, 50.0], [0.75, 99.0], [0.5, 20.0]]
    assert [each.constraints for each in trials] == [
        {"parameters <= 50": 0.0},
        {"parameters <= 50": 49.0},
        {"parameters <= 50": -30.0},
    ]
    assert not any(each.intermediate_values for each in trials)
    again = Search(study, Storage(path, study.name, directions=study.directions))
    assert again.best is not None
    assert (again.best.number, again.best.scores) == (2, [0.5, 20.0])


def chosen(
    study: Study, trials: int, judge: Callable[[float], tuple[list[float], dict[str, float]]]
) -> list[float]:
    """The dropout rates that a sampler tries; `judge` gives a rate's scores and its excess."""
    sampler, rates = make(study, []), []
    for number in range(trials):
        params = sampler.ask(number)
        assert params is not None
        rate = params["model.dropout"]
        assert isinstance(rate, float)
        rates.append(rate)
        sampler.tell(number, Result(TrialState.COMPLETE, judge(rate)[0], {}, judge(rate)[1]))
    return rates


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_sampler_learns_what_is_feasible(sampler: str) -> None:
    """Larger rates are better, and those above .3 break the bound: TPE alone finds it."""
    study = check(
        {
            "name": "a",
            **SPACE,
            "constraints": ["parameters <= 0.3"],
            "search": {"sampler": sampler, "trials": 90},
        }
    )
    rates = chosen(study, 90, lambda rate: ([rate], {"parameters <= 0.3": rate - 0.3}))
    late = np.array(rates[45:])
    near = float(np.mean(abs(late - 0.3) < 0.05))
    assert near > 0.4 if sampler == "tpe" else near < 0.25
    assert max(each for each in rates if each <= 0.3) > 0.28


def test_tpe_searches_the_whole_front() -> None:
    """Rate up, and the distance to .6 down: the front is every rate from .6 on."""
    study = check({"name": "a", **SPACE, "objective": BOTH})
    rates = chosen(study, 60, lambda rate: ([rate, abs(rate - 0.6)], {}))
    late = np.array(rates[30:])
    assert np.mean(late > 0.58) > 0.6
    assert late.max() > 0.8
    assert late[late > 0.58].min() < 0.68


def test_predictions_are_timed_in_studies_that_are_judged_by_it() -> None:
    for metric, timed in (("val_loss", False), ("folded_predict_seconds", True)):
        study = check({"name": "a", "objective": {"metric": metric}})
        assert Nets(study, "").maker == NetMaker(timed=timed, judged=True)


# The loop


def answering(metrics: Sequence[dict[str, float]]) -> Callable[[Link], Outcome]:
    from tests.sweep.fakes import advanced

    def respond(link: Link) -> Outcome:
        known = {name: np.full(2, value) for name, value in metrics[link.number].items()}
        outcome = advanced(link, known["val_accuracy"][0])
        return type(outcome)(**(vars(outcome) | {"metrics": known}))

    return respond


def test_the_best_trial_keeps_the_constraints() -> None:
    from tests.sweep.fakes import Sweep

    found = [
        {"val_accuracy": 0.5, "epoch_seconds": 1.0},
        {"val_accuracy": 0.9, "epoch_seconds": 9.0},
        {"val_accuracy": 0.7, "epoch_seconds": 2.0},
    ]
    study = {"constraints": ["epoch_seconds <= 2"]}
    sweep = Sweep(answering(found), trials=3, slots=1, study=study).run()
    assert sweep.states() == [State.COMPLETE] * 3
    assert sweep.records.best == [0, 2]
    assert [each.feasible for each in sweep.search.trials] == [True, False, True]


def test_a_net_that_is_too_large_is_never_trained() -> None:
    from tests.sweep.fakes import Sweep

    sweep = Sweep(trials=4, slots=2, study={"constraints": ["parameters <= 100"]})
    sizes = itertools.cycle([50, 101])
    sweep.loop.parameters = lambda config: next(sizes)
    sweep.run()
    assert sweep.states() == [State.COMPLETE, State.PRUNED] * 2
    assert {link.number for link in sweep.runner.links} == {0, 2}
    assert sweep.records.endings[1][1] == "infeasible: parameters 101 > 100"
    assert sweep.search.trials[1].excess == {"parameters <= 100": 1.0}
    assert sorted(sweep.of("end")) == [0, 1, 2, 3]


def test_what_only_training_can_count_is_trained() -> None:
    from tests.sweep.fakes import Sweep

    sweep = Sweep(trials=2, study={"constraints": ["parameters <= 100"]})
    sweep.loop.parameters = lambda config: None
    sweep.run()
    assert [link.number for link in sweep.runner.links] == [0, 1]


@pytest.mark.parametrize(
    "model",
    [
        {"hidden": [16, 8], "batch_norm": "before"},
        {"hidden": [5], "activation": {"maxout": {"pieces": 3}}},
        {"architecture": {"cnn": {"channels": [4]}}, "hidden": [8], "batch_norm": "after"},
    ],
)
def test_parameters_are_counted_before_training(model: dict[str, Any]) -> None:
    study = check({"name": "a", "model": model, "training": {"epochs": 1}, "replicates": 1})
    datasets, plain = Datasets(study), study.first_config()
    trained = train(build(Config, plain), datasets.data(plain), None, 1, seed=0, replicates=1)
    assert datasets.parameters(plain) == trained.metrics["parameters"][0]


# The results


def result(number: int, scores: Sequence[float], violated: Sequence[str] = ()) -> TrialResult:
    known: Any = {
        "reason": None,
        "params": {},
        "epoch": 1,
        "seconds": 1.0,
        "mlflow_run_id": None,
        "metrics": {},
        "environment": {},
        "diagnosis": [],
        "parent": None,
    }
    return TrialResult(
        number=number,
        state="complete",
        value=scores[0],
        values=[scores[0]],
        scores=list(scores),
        violated=list(violated),
        **known,
    )


POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25)


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    study = check({"name": "a", "objective": BOTH})  # the first up, the second down
    trials = [result(number, point) for number, point in enumerate(points)]
    front = {each.number for each in Results(study, "finished", trials, [], None).front()}

    def dominated(mine: tuple[int, int]) -> bool:
        return any(a >= mine[0] and b <= mine[1] and (a, b) != mine for a, b in points)

    assert front == {number for number, point in enumerate(points) if not dominated(point)}


def test_the_answer_of_several_objectives() -> None:
    study = check({"name": "a", "objective": BOTH, "constraints": ["parameters <= 50"]})
    broken = ["parameters <= 50"]
    trials = [
        result(0, [0.5, 10.0]),
        result(1, [0.9, 60.0], broken),
        result(2, [0.75, 50.0]),
        result(3, [0.5, 11.0]),
    ]
    results = Results(study, "finished", trials, [], None)
    assert results.best is trials[2]
    assert [each.number for each in results.ranked()] == [2, 0, 3]
    shown = results.full()
    assert answer(results).startswith("On the Pareto front of val_accuracy, parameters: #2, #0. ")
    found = Evidence(results, (), (), 0, None)
    drawn = painted(found)
    assert drawn is not None
    others, front = drawn.axes[0].collections[0], drawn.axes[0].lines[0]
    assert np.asarray(others.get_offsets()).tolist() == [[60.0, 0.9], [11.0, 0.5]]
    assert np.asarray(front.get_xdata()).tolist() == [10.0, 50.0]
    assert [list(each.y) for each in chart(found).data] == [[0.9, 0.5], [0.75, 0.5]]
    assert (drawn.axes[0].get_xscale(), chart(found).layout.xaxis.type) == ("linear", "linear")
    wide = replace(results, trials=[*trials, result(4, [0.95, 100.1])])
    far = Evidence(wide, (), (), 0, None)
    drawn = painted(far)
    assert drawn is not None
    assert (drawn.axes[0].get_xscale(), chart(far).layout.xaxis.type) == ("log", "log")
    assert shown["best"] == [2, 0]
    assert shown["value"] == [[0.75, 50.0], [0.5, 10.0]]
    assert shown["metrics"] == ["val_accuracy", "parameters"]
    assert shown["direction"] == ["maximize", "minimize"]
    assert shown["trials"][1]["value"] == [0.9, 60.0]
    assert shown["trials"][1]["violated"] == broken


def test_one_objective_has_no_front_to_draw() -> None:
    study = check({"name": "a"})
    found = Evidence(Results(study, "finished", [result(0, [0.5])], [], None), (), (), 0, None)
    assert painted(found) is None
    assert chart(found) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.98234, "0.9823"),
        (12345.6, "12345.6"),
        (7242.0, "7242"),
        (1.5, "1.5000"),
        (0.000123456, "0.0001235"),
        (0.0, "0.0000"),
    ],
)
def test_a_figure_has_digits_that_say_something(value: float, text: str) -> None:
    assert figure(value) == text
