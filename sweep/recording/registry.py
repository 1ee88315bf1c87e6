"""The winner of a study in MLflow's registry of models, under the study's name.

The alias `champion` goes to it when it beats the standing champion *on the same data*: the same
rows, split the same way (a digest says so), and the same metric. On other data nothing can be said,
so the standing champion stays, and the new version's description tells why. The alias is where
whoever serves the model looks, so it never moves on a guess.
"""

from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sweep.recording import tracking
from sweep.recording.logged_model import FOLDER
from sweep.recording.outbox import Run
from sweep.recording.records import Winner

CHAMPION = "champion"


def register(client: MlflowClient, winner: Winner, run: Run, study: str) -> None:
    """Registers the model that is in the run of a trial, once, and crowns it if it is due.

    Raises:
        Exception: whatever MLflow raises.
    """
    tags = {
        "sweep.trial": str(winner.trial),
        "sweep.data": winner.data,
        "sweep.metric": winner.metric,
        "sweep.value": repr(winner.value),
    }
    made = _version(client, study, run, tags)
    standing = _champion(client, study)
    verdict = _verdict(winner, standing)
    if standing is None or str(standing.version) != str(made.version):
        client.update_model_version(study, made.version, f"#{winner.trial}: {verdict}")
    if verdict.startswith(CHAMPION):
        client.set_registered_model_alias(study, CHAMPION, str(made.version))


def _version(client: MlflowClient, study: str, run: Run, tags: dict[str, str]) -> Any:
    """The version of this run: found, or made."""
    try:
        client.create_registered_model(study)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for each in client.search_model_versions(f"name = '{study}'"):
        if each.run_id == run.run_id:
            return each
    source = f"runs:/{run.run_id}/{FOLDER}"
    return client.create_model_version(
        study, source, run.run_id, tags=tags, await_creation_for=None
    )


def _champion(client: MlflowClient, study: str) -> Any:
    try:
        return client.get_model_version_by_alias(study, CHAMPION)
    except MlflowException as error:
        if tracking.is_refusal(error):
            return None
        raise


def _verdict(winner: Winner, standing: Any) -> str:
    """Why it is the champion, or why not."""
    if standing is None:
        return f"{CHAMPION}: the first"
    tags = standing.tags
    if (tags.get("sweep.data"), tags.get("sweep.metric")) != (winner.data, winner.metric):
        return f"not compared: version {standing.version} was judged on other data or otherwise"
    other = float(tags["sweep.value"])
    better = winner.value > other if winner.maximize else winner.value < other
    if better:
        return f"{CHAMPION}: {winner.value:.4g} against {other:.4g} of version {standing.version}"
    return f"version {standing.version} stays with {other:.4g} against {winner.value:.4g}"
