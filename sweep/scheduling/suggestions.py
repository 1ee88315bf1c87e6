"""New trials: asked for ahead of need, so that no slot waits for the sampler.

With `search.reproducible` none is asked for before those have ended on which it may depend.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sweep.pruners import Pruner
from sweep.scheduling.ports import Search
from sweep.search.trial import Trial
from sweep.spec.objectives import excesses
from sweep.spec.study import Study


@dataclass
class Suggestions:
    """What the search suggests; one trial at most is ready before it can start.

    `parameters` counts those of a configuration.
    """

    study: Study
    search: Search
    pruner: Pruner
    parameters: Callable[[Mapping[str, Any]], int | None] | None
    _ready: Trial | None = None
    _exhausted: bool = False

    def prepare(self, active: Collection[int]) -> None:
        """Asks for the next trial, beside those that are active, unless one is ready."""
        if self._ready is None:
            self._ready = self._ask(active)

    def take(self, active: Collection[int]) -> Trial | None:
        """The next trial, with its rungs; None while there is none to start."""
        self.prepare(active)
        trial, self._ready = self._ready, None
        return trial

    def ended(self) -> None:
        """Hears that a trial has ended: there may be one to suggest again."""
        self._exhausted = False

    def broken(self, trial: Trial) -> str | None:
        """The bounds that a trial breaks whatever it learns; keeps its excess."""
        bounds = [each for each in self.study.constraints if each.metric == "parameters"]
        if not bounds or self.parameters is None:
            return None
        count = self.parameters(trial.config)
        if count is None:
            return None
        trial.excess = excesses(bounds, {"parameters": [count]})
        return ", ".join(each.broken(count) for each in bounds if each.excess(count) > 0)

    def _ask(self, active: Collection[int]) -> Trial | None:
        if self._exhausted or self.search.wanted <= len(active) or self._too_far_ahead(active):
            return None
        trial = self.search.ask()
        if trial is None:
            self._exhausted = True
            return None
        epochs = trial.until or int(trial.config["training"]["epochs"])
        trial.rungs = (*self.pruner.rungs(trial.number, epochs), epochs)
        return trial

    def _too_far_ahead(self, active: Collection[int]) -> bool:
        if not self.study.lag:
            return False
        seen = self.search.upcoming - self.study.lag
        return any(number <= seen for number in active)
