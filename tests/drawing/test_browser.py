"""Pages in a real browser: they load nothing, log nothing, answer to pointing, and can be read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from drawing import scenes
from foremesh.drawing import Report, html, render_report, svg

pytestmark = pytest.mark.browser

Open = Callable[[str], Chrome]

POINT_ON = """
const line = arguments[0], at = line.getPointAtLength(line.getTotalLength() * arguments[1]);
const there = at.matrixTransform(line.getScreenCTM());
return [Math.round(there.x), Math.round(there.y)];
"""


BOXES = """
const names = [...document.querySelectorAll('svg.mesh .name')].map(one => one.getBBox());
return names.map(box => [box.x, box.y, box.width, box.height]);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Chromium with a window of 1280 by 1000 and a record of its console."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    profile = tmp_path_factory.mktemp("profile")
    for one in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(one)
    options.add_argument("--window-size=1280,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With the driver named, selenium looks for none to download.
    running = Chrome(options, Service(shutil.which("chromedriver")))
    yield running
    running.quit()


@pytest.fixture
def open_page(browser: Chrome, tmp_path: Path) -> Iterator[Open]:
    """Open a page from a file; afterwards, nothing has been loaded beside it and nothing logged."""

    def opened(text: str, suffix: str = "html") -> Chrome:
        file = tmp_path / f"page.{suffix}"
        file.write_text(text)
        browser.get(file.as_uri())
        return browser

    yield opened
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map(one => one.name)") == []


def point_at(browser: Chrome, element: WebElement, share: float | None = None) -> str:
    """Move the pointer to the middle of an element, or along a line, and read what the page says to it."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    if share is None:
        box = browser.execute_script(
            "const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]", element
        )
        x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    else:
        x, y = browser.execute_script(POINT_ON, element, share)
    actions = ActionBuilder(browser)
    actions.pointer_action.move_to_location(int(x), int(y))
    actions.perform()
    return browser.find_element(By.ID, "tip").text


def test_graph_answers_to_pointing(open_page: Open) -> None:
    browser = open_page(html(scenes.small(), title="Small"))
    mesh = browser.find_element(By.CSS_SELECTOR, "#map svg.mesh")
    assert mesh.get_attribute("role") == "img"
    assert mesh.get_attribute("aria-label") == "Small"
    assert mesh.size["width"] > 1000
    gateway = mesh.find_elements(By.CSS_SELECTOR, ".gateway .node")[0]
    assert "Core gateway in a eu-west" in point_at(browser, gateway)
    links = mesh.find_elements(By.CSS_SELECTOR, ".link .hit")
    said = [point_at(browser, one, 0.5) for one in links]
    assert any("unknown" in text for text in said)
    active = mesh.find_element(By.CSS_SELECTOR, ".circuit .active")
    assert "falls short" in point_at(browser, active, 0.3)
    assert point_at(browser, browser.find_element(By.TAG_NAME, "h1")) == ""


def test_pointing_at_an_intent_lights_its_circuit(open_page: Open) -> None:
    browser = open_page(html(scenes.small(), title="Small"))
    row = browser.find_elements(By.CSS_SELECTOR, "tr[data-lights]")[1]
    point_at(browser, row)
    lit = browser.find_elements(By.CSS_SELECTOR, "svg.mesh.focus .circuit.lit")
    assert [one.get_attribute("data-circuit") for one in lit] == ["1"]
    point_at(browser, browser.find_element(By.TAG_NAME, "h1"))
    assert browser.find_elements(By.CSS_SELECTOR, "svg.mesh.focus") == []


@pytest.mark.parametrize("count", [12, 100])
@pytest.mark.parametrize("located", [True, False])
def test_names_of_gateways_do_not_cover_each_other(open_page: Open, count: int, located: bool) -> None:
    browser = open_page(html(scenes.large(count, located=located), title="Large"))
    boxes = browser.execute_script(BOXES)
    assert len(boxes) == count if count == 12 else len(boxes) > 0.4 * count
    covered = [pair for pair in combinations(boxes, 2) if shared(*pair) > 0.25]
    assert len(covered) <= count // 10, covered


def shared(one: list[float], other: list[float]) -> float:
    """Share of the smaller box that two have in common."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    tall = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, tall) / min(one[2] * one[3], other[2] * other[3])


def test_report_shows_map_and_plots_that_answer(open_page: Open) -> None:
    browser = open_page(render_report(scenes.report()))
    assert browser.find_element(By.CSS_SELECTOR, "#map svg.mesh").size["height"] > 300
    plot = browser.find_element(By.CSS_SELECTOR, "svg.forecast")
    for part in ("band", "median", "actual", "limit", "missed", "flag"):
        box = browser.execute_script("return arguments[0].getBBox().width", plot.find_element(By.CLASS_NAME, part))
        assert box > 0, part
    said = point_at(browser, plot.find_elements(By.CLASS_NAME, "slice")[20])
    assert "10:00 to 10:30" in said
    assert "actual 200 ms" in said
    assert "saves 4.2 ms" in point_at(browser, plot.find_element(By.CSS_SELECTOR, ".moved .flag"))
    assert "ams → lon → fra" in point_at(browser, browser.find_elements(By.CSS_SELECTOR, ".timeline .stretch")[1])
    assert "predictive: 40" in point_at(browser, browser.find_element(By.CSS_SELECTOR, ".bars .bar"))
    texts = browser.find_element(By.TAG_NAME, "pre")
    assert not texts.is_displayed()
    summary = next(one for one in browser.find_elements(By.TAG_NAME, "summary") if one.text == "mesh/ams")
    summary.click()
    assert texts.is_displayed()


def hostile_report() -> Report:
    return scenes.report(mesh=scenes.hostile())


@pytest.mark.parametrize(
    "page",
    [lambda: html(scenes.hostile(), title=scenes.HOSTILE), lambda: render_report(hostile_report())],
    ids=["graph", "report"],
)
def test_hostile_names_do_nothing(open_page: Open, page: Callable[[], str]) -> None:
    browser = open_page(page())
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert browser.execute_script("return typeof window.hacked") == "undefined"
    assert "<script>alert(1)</script>" in browser.find_element(By.TAG_NAME, "main").text


def test_page_follows_the_readers_choice_of_light_or_dark_but_paper_is_white(open_page: Open) -> None:
    browser = open_page(html(scenes.small(), title="Small"))
    assert {scheme: ground(browser, "screen", scheme) for scheme in ("light", "dark")} == {
        "light": "rgb(255, 255, 255)",
        "dark": "rgb(18, 23, 29)",
    }
    assert ground(browser, "print", "dark") == "rgb(255, 255, 255)"


def ground(browser: Chrome, media: str, scheme: str) -> Any:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    found = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    return found


def test_page_fits_its_window(open_page: Open) -> None:
    browser = open_page(render_report(scenes.report()))
    wide, room = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= room


def test_svg_alone_is_a_picture(open_page: Open) -> None:
    browser = open_page(svg(scenes.small(), title="Small"), "svg")
    assert browser.execute_script("return document.documentElement.tagName") == "svg"
    assert browser.execute_script("return getComputedStyle(document.querySelector('.active')).strokeWidth") == "3.4px"
