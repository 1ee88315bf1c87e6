"""A headless Chromium on a page of the MLflow UI; its screenshots are kept."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium, or no driver")
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


@contextmanager
def opened(address: str, pictures: Path) -> Iterator[Browser]:
    """A browser for a server; its pictures go to `$SCREENSHOTS` if that is set."""
    from selenium import webdriver

    pictures = Path(os.environ.get("SCREENSHOTS") or pictures)
    pictures.mkdir(parents=True, exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    flags = ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage")
    for flag in (*flags, "no-proxy-server", "window-size=1500,1000"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield Browser(driver, address, pictures)
    finally:
        driver.quit()
