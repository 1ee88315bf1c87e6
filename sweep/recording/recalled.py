"""Trials told of again from the study's storage, where the outbox that had told of them is lost.

Their epochs went with the outbox: a run that MLflow had not got yet has the configuration and the
result alone.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from optuna.trial import FrozenTrial

from sweep.recording.logbook import run_name
from sweep.recording.projection import DIAGNOSIS
from sweep.recording.records import TrialEnded, TrialStarted
from sweep.search.storage import RECORD
from sweep.search.trial import Trial
from sweep.spec.study import Study
from sweep.spec.study_file import dump


def recalled(study: Study, past: Sequence[FrozenTrial]) -> Iterator[TrialStarted | TrialEnded]:
    """The beginning and the end of every trial that has ended."""
    for each in past:
        if not each.state.is_finished():
            continue
        record = each.user_attrs[RECORD]
        config = study.config(each.params)
        yield TrialStarted(
            trial=each.number,
            name=run_name(study, Trial(each.number, each.params, config)),
            params=study.flat(config),
            config=dump(config),
            at_ms=_ms(each.datetime_start),
            recalled=True,
        )
        yield TrialEnded(
            trial=each.number,
            state=record["state"],
            epoch=record["epoch"],
            at_ms=_ms(each.datetime_complete),
            reason=record["reason"],
            value=record["value"],
            values=record["values"],
            tags={DIAGNOSIS: "; ".join(record["diagnosis"]) or "healthy"},
            recalled=True,
        )


def _ms(at: datetime | None) -> int:
    """Optuna keeps local time."""
    assert at is not None
    return round(1000 * at.timestamp())
