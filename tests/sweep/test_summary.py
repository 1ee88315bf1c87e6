"""What a person sees at the end of a sweep."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sweep.answers.results import Results, TrialResult
from sweep.answers.summary import listing, summary
from sweep.recording.outbox import NOTHING
from sweep.spec.study import Study

MakeStudy = Callable[..., Study]


def complete(params: dict[str, Any]) -> TrialResult:
    return TrialResult(0, "complete", None, params, 0.5, [0.5], 9, 1.0, None, {}, {}, [], [0.5], [])


@pytest.mark.parametrize("option", [["wide", "deep"], ["/"], ["bold"]])
def test_what_looks_like_markup_is_shown_as_it_is(
    make_study: MakeStudy, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    study = make_study(trainer="mine:Net", model={"layers": {"choose": [option, ["narrow"]]}})
    label = f"[{', '.join(option)}]"
    summary(Results(study, "finished", [complete({"model.layers": label})], [], None), None, None)
    assert f"layers={label}" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_a_pareto_front_fits_a_terminal(
    make_study: MakeStudy,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    metrics = ["val_accuracy", "predict_seconds", "folded_predict_seconds"]
    study = make_study(
        model={
            "activation": {"choose": ["relu", "leaky_relu"]},
            "init": {"choose": ["he_normal", "xavier_uniform"]},
            "dropout": {"low": 0.0, "high": 0.5},
        },
        objective=[{"metric": each} for each in metrics],
    )
    params = {
        "model.activation": "leaky_relu",
        "model.init": "xavier_uniform",
        "model.dropout": 0.25,
    }
    found: dict[str, list[float | None]] = {name: [8.83e-5, 8.31e-5] for name in metrics}
    trial = replace(complete(params), values=[0.93, 0.94], scores=[0.9, 1e-5, 1e-5], metrics=found)
    summary(Results(study, "finished", [trial], [], None), None, None)
    shown = capsys.readouterr().out
    assert "…" not in shown
    for each in ("activation=leaky_relu", "init=xavier_uniform", "dropout=0.25"):
        assert each in shown
    table = [line for line in shown.splitlines() if line[:1] in "┏┃┡│└"]
    assert max(map(len, table)) <= columns


@pytest.mark.parametrize(("state", "told"), [("interrupted", True), ("finished", False)])
def test_a_study_that_was_interrupted_says_how_it_goes_on(
    make_study: MakeStudy, capsys: pytest.CaptureFixture[str], state: str, told: bool
) -> None:
    summary(Results(make_study(), state, [], [], None), None, "my place")
    line = "go on: python -m sweep resume test --workspace 'my place'"
    assert (line in capsys.readouterr().out.splitlines()) == told


def test_a_folder_may_have_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("metric", "best", "value"))
    entry = {"name": "[bold]", "state": "unreadable", "trials": {}, **nothing}
    listing([entry | {"unrecorded": NOTHING._asdict()}])
    assert "[bold]" in capsys.readouterr().out
