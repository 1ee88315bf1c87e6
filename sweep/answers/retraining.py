"""A trial of the record trained once more, from its first epoch, in this process."""

from sweep.answers.results import Results, TrialResult
from sweep.datasets import Datasets
from sweep.scheduling.runner import Advanced, Link, Raised, advance
from sweep.search.trial import CHANGED
from trainer.state import State


def retrained(
    results: Results, trial: TrialResult, datasets: Datasets, *, cards: bool
) -> tuple[Advanced | Raised, State | None, set[str]]:
    """Trains a trial to the epoch that it reached, after those from whose states it started.

    On the processor, unless with `cards` each is trained on a card that was when it was recorded.

    Returns:
        the trial's outcome, its state, and the names of what the numbers of any of them depend on
        and was otherwise then, or not the same in all its links.
    """
    line = [trial]
    while line[0].parent is not None:
        line.insert(0, results.trials[line[0].parent])
    study, state, changed = results.study, None, set[str]()
    for each in line:
        config, replicates = study.config(each.params), study.replicates_of(each.number)
        link = Link(
            each.number,
            config,
            each.epoch,
            study.search.seed,
            len(replicates),
            study.threads,
            gpu=cards and "gpu" in each.environment,
            first=replicates.start,
        )
        outcome, state = advance(link, datasets.data(config), state, datasets.maker)
        if isinstance(outcome, Raised):
            break
        then, now = each.environment, outcome.environment
        changed |= {name for name in {*then, *now} - {CHANGED} if then.get(name) != now.get(name)}
        changed |= set(then.get(CHANGED, ()))
    return outcome, state, changed
