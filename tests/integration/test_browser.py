"""The MLflow UI on a finished sweep, in a headless Chromium; its screenshots are kept."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Sweep
from tests.integration.mlflow_server import free_port

selenium = pytest.importorskip("selenium", reason="needs the package selenium")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium, or no chromedriver"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SECONDS = 40


class Browser:
    """A browser on the UI of a workspace."""

    def __init__(self, driver: Any, address: str, pictures: Path) -> None:
        self.driver = driver
        self._address = address
        self._pictures = pictures

    def open(self, page: str) -> None:
        self.driver.get("about:blank")
        self.driver.get(self._address + page)

    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def see(self, condition: Callable[[], Any], name: str) -> None:
        """Waits for what must be on the page, and keeps a screenshot either way."""
        from selenium.webdriver.support.wait import WebDriverWait

        try:
            WebDriverWait(self.driver, SECONDS).until(lambda _: condition(), self.text()[:2000])
        finally:
            self.driver.save_screenshot(str(self._pictures / f"{name}.png"))

    def type(self, selector: str, text: str) -> None:
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.CSS_SELECTOR, selector).send_keys(text)

    def count(self, selector: str) -> int:
        script = "return document.querySelectorAll(arguments[0]).length"
        return int(self.driver.execute_script(script, selector))


@pytest.fixture(scope="module")
def browser(finished: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    from selenium import webdriver

    pictures = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    pictures.mkdir(parents=True, exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    flags = ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage")
    for flag in (*flags, "no-proxy-server", "window-size=1500,1000"):
        options.add_argument(f"--{flag}")
    ui = finished.start("ui", "smoke", "--port", free_port())
    assert ui.stdout is not None
    try:
        lines = iter(ui.stdout.readline, "")
        address = next(found[1] for line in lines if (found := re.search(r"(http://\S+?)/#", line)))
        driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        try:
            yield Browser(driver, address, pictures)
        finally:
            driver.quit()
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
