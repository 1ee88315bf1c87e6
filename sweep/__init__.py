"""The sweep service: studies of neural-network training, answered with error bars.

Example:
    results = sweep.run("studies/digits.yaml", trials=30)
    results.best.params, results.test
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.answers.results import Results


def run(study: Any, **overrides: Any) -> "Results":
    """Runs a study and returns its results; see `sweep.driver.run` for what can be overridden."""
    from sweep import driver

    return driver.run(study, **overrides).results
