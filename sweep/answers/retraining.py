"""A trial of the record trained once more, from its first epoch, in this process."""

from sweep.answers.results import Results, TrialResult
from sweep.datasets import Datasets
from sweep.scheduling.runner import Advanced, Link, Raised, advance
from trainer.state import State


def retrained(
    results: Results, trial: TrialResult, datasets: Datasets, *, gpu: bool
) -> tuple[Advanced | Raised, State | None]:
    """Trains a trial to the epoch that it reached, after those from whose states it started.

    On the processor unless `gpu`.
    """
    line = [trial]
    while line[0].parent is not None:
        line.insert(0, results.trials[line[0].parent])
    study, state = results.study, None
    for each in line:
        config, replicates = study.config(each.params), study.replicates_of(each.number)
        link = Link(
            each.number,
            config,
            each.epoch,
            study.search.seed,
            len(replicates),
            study.threads,
            gpu=gpu,
            first=replicates.start,
        )
        outcome, state = advance(link, datasets.data(config), state, datasets.maker)
        if isinstance(outcome, Raised):
            break
    return outcome, state
