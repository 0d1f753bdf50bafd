"""The page in Chromium: quick, quiet, narrow, by keyboard, in light and in dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from html_verdicts import ladder, layers

from parity.html import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = [
    f"--{name}"
    for name in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "disable-dev-shm-usage",
    )
]

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=service.Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ladder whose three rungs of tensors have 12,000 of them, some failing."""
    path = tmp_path_factory.mktemp("pages") / "big.html"
    write_report(ladder(4_000, failed=50), path, command="python -m parity ladder " + "--option value " * 20)
    return path


def look_at(browser: Any, page: Path, width: int, dark: bool = False) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(page.as_uri())


def test_a_big_page_opens_in_two_seconds_without_a_word_in_the_console(browser: Any, big: Path) -> None:
    wait = pytest.importorskip("selenium.webdriver.support.wait")
    ended = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    took = []
    for _ in range(3):
        look_at(browser, big, 1280)
        # The browser answers when the page is complete, a moment before that event, and then says 0.
        took.append(wait.WebDriverWait(browser, 10).until(lambda it: it.execute_script(ended)))
    assert 0 < min(took) < 2000, took
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("dark", [False, True])
def test_a_narrow_page_does_not_scroll_sideways_even_if_all_is_open(browser: Any, big: Path, dark: bool) -> None:
    look_at(browser, big, 400, dark)
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    assert browser.execute_script("return document.body.scrollWidth") <= 400


# Contrast of every text that is drawn with the nearest ground behind it, as WCAG counts it; the least of all.
CONTRAST = """
const light = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (one) => {
  for (; one; one = one.parentElement) {
    const color = getComputedStyle(one).backgroundColor;
    if (!/, 0\\)$|transparent/.test(color)) return color;
  }
  return "rgb(255, 255, 255)";
};
const seen = {};
for (const one of document.querySelectorAll("body *:not(script):not(option)")) {
  const words = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!words || !one.checkVisibility()) continue;
  const style = getComputedStyle(one);
  const color = one.closest("svg") ? style.fill : style.color;
  if (color === "none") continue;
  const [a, b] = [light(color), light(ground(one))].sort((x, y) => y - x);
  seen[`${color} on ${ground(one)}`] = (a + 0.05) / (b + 0.05);
}
return seen;
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_told_from_its_ground(browser: Any, tmp_path: Path, dark: bool) -> None:
    page = tmp_path / "small.html"
    write_report(ladder(60, failed=9), page, command="python -m parity ladder")
    look_at(browser, page, 1280, dark)
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    found = browser.execute_script(CONTRAST)
    assert len(found) > 4 and min(found.values()) >= 4.5, found
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) is dark


def test_the_keyboard_reaches_and_opens_everything(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    page = tmp_path / "small.html"
    write_report(layers(60).as_dict(), page)
    look_at(browser, page, 1280)

    def press(key: str) -> Any:
        ActionChains(browser).send_keys(key).perform()
        return browser.switch_to.active_element

    assert press(Keys.TAB).get_attribute("class") == "skip"
    assert browser.execute_script("return document.activeElement.getBoundingClientRect().left") == 0
    assert press(Keys.ENTER).get_attribute("id") == "verdict"
    reached = []
    for _ in range(200):
        active = press(Keys.TAB)
        if active.tag_name == "body":
            break
        reached.append(active.tag_name)
        outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", active.get_attribute("outerHTML")[:200]
        if active.tag_name == "summary" and active.text.startswith("Tensors nearest"):
            press(Keys.SPACE)
            break
    assert "summary" in reached and "a" in reached and "button" in reached
    table = browser.find_element("css selector", "table.filterable")
    assert table.is_displayed()
    assert press(Keys.TAB).tag_name == "input"
    ActionChains(browser).send_keys("layers.2").perform()
    shown = browser.execute_script("return [...arguments[0].tBodies[0].rows].filter(row => !row.hidden).length", table)
    assert 0 < shown < 60
    press(Keys.TAB)  # the box in which the table scrolls
    assert press(Keys.TAB).tag_name == "button"
    press(Keys.ENTER)
    heading = browser.find_element("css selector", "table.filterable th[aria-sort]")
    assert heading.get_attribute("aria-sort") == "descending"


def test_the_page_is_whole_without_scripts(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "small.html"
    write_report(layers(60, failed=2).as_dict(), page)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        look_at(browser, page, 1280)
        assert "First divergence" in browser.find_element("tag name", "main").text
        assert not browser.find_element("css selector", ".filter").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
