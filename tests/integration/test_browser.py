"""The MLflow UI on a finished sweep, in a headless Chromium; its screenshots are kept."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.browser import Browser, needs_browser, opened
from tests.integration.conftest import Sweep
from tests.integration.mlflow_server import free_port

selenium = pytest.importorskip("selenium", reason="needs the package selenium")
pytestmark = [needs_browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def browser(finished: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    ui = finished.start("ui", "smoke", "--port", free_port())
    assert ui.stdout is not None
    try:
        lines = iter(ui.stdout.readline, "")
        address = next(found[1] for line in lines if (found := re.search(r"(http://\S+?)/#", line)))
        with opened(address, tmp_path_factory.mktemp("screenshots")) as made:
            yield made
    finally:
        ui.terminate()
        try:
            ui.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            ui.kill()


def test_the_ui_shows_a_sweep(browser: Browser, finished: Sweep) -> None:
    parent, *children = finished.runs("smoke")
    runs = f"/#/experiments/{parent.info.experiment_id}/runs"
    first, second = (child.info for child in children[:2])

    browser.open(runs)
    browser.see(lambda: parent.info.run_name in browser.text(), "experiment")
    expander = "button[data-component-id*='runnamecellrenderer']"
    if first.run_name not in browser.text():
        browser.see(lambda: browser.count(expander), "experiment")
        script = "document.querySelector(arguments[0]).click()"
        browser.driver.execute_script(script, expander)
    browser.see(lambda: "#0 " in browser.text(), "children")

    browser.open(f"{runs}/{first.run_id}/model-metrics")
    browser.see(lambda: browser.count(".js-plotly-plot .trace, .js-plotly-plot"), "metrics")
    browser.type("input[placeholder='Search metric charts']", "train_accuracy")  # they load late
    browser.see(lambda: "train_accuracy" in browser.text(), "metrics")

    browser.open(f"{runs}/{first.run_id}/artifacts/learning_curve.png")
    drawn = "return [...document.images].some(i => i.naturalWidth > 600)"
    browser.see(lambda: browser.driver.execute_script(drawn), "picture")

    browser.open(f"{runs}/{parent.info.run_id}/artifacts/report.html")
    browser.see(lambda: browser.count("iframe"), "report")
    browser.driver.switch_to.frame(0)
    browser.see(lambda: browser.count(".js-plotly-plot .main-svg") > 3, "report")
    browser.driver.switch_to.default_content()

    compared = f'["{first.run_id}","{second.run_id}"]'
    browser.open(f'/#/compare-runs?runs={compared}&experiments=["{parent.info.experiment_id}"]')
    browser.see(lambda: "Comparing 2 Runs" in browser.text(), "comparison")
