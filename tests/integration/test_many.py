"""A long study: 2,000 trials of 27 epochs and 12 metrics are in MLflow whole, and its UI opens."""

import json
import sqlite3
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from sweep.recording.records import Epochs, SweepEnded, SweepStarted, TrialEnded, TrialStarted
from tests.integration.browser import BROWSER, DRIVER, opened
from tests.integration.mlflow_server import HOST, empty_store, mlflow_server
from tests.integration.recorded import T0, Place

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning",
    ),
]
TRIALS, EPOCHS, METRICS = 2000, 27, 12
NAMES = tuple(f"health/figure_{index}" for index in range(METRICS))
PAGE_SECONDS = 10.0
"""For the first page, which took 0.2 s while others kept all processors busy."""


def fill(place: Place) -> None:
    """Puts the whole sweep on the queue."""
    place.outbox.add(SweepStarted("Is everything there?", "name: digits\n", T0))
    chance = np.random.default_rng(0)
    for number in range(TRIALS):
        history = {name: chance.random((EPOCHS, 2)) for name in NAMES}
        params = {f"model.param_{index}": index * number for index in range(25)}
        with place.outbox.batch():
            place.outbox.add(TrialStarted(number, f"#{number}", params, "", T0 + number))
            place.outbox.add(Epochs(number, 1, history, T0 + 1000))
            place.outbox.add(TrialEnded(number, "complete", EPOCHS, T0 + 60_000, value=0.5))
    place.outbox.add(SweepEnded("complete", T0 + 99))


def test_a_long_study_is_whole_and_its_page_opens(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_store())
    place = Place(tmp_path)
    fill(place)
    # Pictures come after all data; drawing 2,000 of them would take minutes.
    recording = place.start()
    try:
        while place.outbox.backlog().records:
            assert recording.trouble is None
            time.sleep(0.5)
    finally:
        recording.stop()
        place.outbox.close()

    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        (points,) = store.execute(
            "SELECT count(*) FROM metrics WHERE key LIKE 'health/%'"
        ).fetchone()
        assert points == TRIALS * EPOCHS * METRICS
        per_run = store.execute(
            "SELECT count(*), count(DISTINCT step) FROM metrics WHERE key LIKE 'health/%' "
            "GROUP BY run_uuid, key"
        ).fetchall()
        assert per_run == [(EPOCHS, EPOCHS)] * TRIALS * METRICS
        assert dict(store.execute("SELECT status, count(*) FROM runs GROUP BY 1")) == {
            "FINISHED": TRIALS + 1
        }
        (experiment,) = store.execute(
            "SELECT experiment_id FROM experiments WHERE name = 'digits'"
        ).fetchone()

    with mlflow_server(tmp_path) as port:
        question = {
            "experiment_ids": [str(experiment)],
            "order_by": ["attributes.start_time DESC"],
            "run_view_type": "ACTIVE_ONLY",
            "max_results": 100,  # what the UI asks for
        }
        request = urllib.request.Request(
            f"http://{HOST}:{port}/ajax-api/2.0/mlflow/runs/search",
            json.dumps(question).encode(),
            {"Content-Type": "application/json"},
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        began = time.monotonic()
        with direct.open(request, timeout=PAGE_SECONDS) as answer:
            found = json.load(answer)
        took = time.monotonic() - began
        if BROWSER and DRIVER:
            with opened(f"http://{HOST}:{port}", tmp_path) as browser:
                began = time.monotonic()
                browser.open(f"/#/experiments/{experiment}/runs")
                browser.see(lambda: "matching runs" in browser.text(), "many")
                print(f"the page of the study was drawn in {time.monotonic() - began:.1f} s")
    print(f"its first runs were found in {took:.2f} s")
    assert len(found["runs"]) == 100
    assert all(len(run["data"]["metrics"]) == METRICS + 1 for run in found["runs"])
    assert found["next_page_token"]
