"""Pages in a real browser: they load nothing, log nothing, answer to pointing, and can be read."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
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


@pytest.fixture
def phone(browser: Chrome) -> Iterator[Chrome]:
    """A screen of 390 by 844 that is touched."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    yield browser
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


SMALLEST_PX = """
const shown = [...document.querySelectorAll('svg text')].filter((one) => one.getBoundingClientRect().width);
return Math.min(...shown.map((one) => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a));
"""

BEYOND = """
for (const one of document.querySelectorAll('details')) one.open = true;
const cut = (one) => { const box = one.getBoundingClientRect(); return box.right > innerWidth || box.left < 0; };
return [...document.querySelectorAll('td, .bars span, p, h1, h2')].filter(cut).map((one) => one.textContent);
"""

SCROLLING = """
return [...document.querySelectorAll('.wide')].map((one) =>
  [one.scrollWidth > one.clientWidth, getComputedStyle(one, '::before').content.includes('scrolls sideways')]);
"""

pages = pytest.mark.parametrize(
    "page", [lambda: html(scenes.small()), lambda: render_report(scenes.report())], ids=["graph", "report"]
)


@pages
def test_phone_shows_all_of_every_table_and_letters_that_can_be_read(
    open_page: Open, phone: Chrome, page: Callable[[], str]
) -> None:
    browser = open_page(page())
    assert browser.execute_script(BEYOND) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    assert browser.execute_script(SMALLEST_PX) > 8.5
    labels = "return [...document.querySelectorAll('td.n')].map((one) => getComputedStyle(one, '::before').content)"
    said = browser.execute_script(labels)
    assert said
    assert all(one not in ("", "none", "normal") for one in said), "titles of columns are beside their figures"


@pages
def test_pictures_that_scroll_say_so_and_those_that_fit_do_not(
    open_page: Open, phone: Chrome, page: Callable[[], str]
) -> None:
    browser = open_page(page())
    narrow = browser.execute_script(SCROLLING)
    assert narrow
    assert all(scrolls and said for scrolls, said in narrow)
    size = {"width": 1280, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert not any(scrolls or said for scrolls, said in browser.execute_script(SCROLLING))


def tap(browser: Chrome, element: WebElement) -> str:
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
    box = browser.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]", element
    )
    touch = {"x": int(box[0]), "y": int(box[1])}
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [touch]})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    return browser.find_element(By.ID, "tip").text


def test_tapping_tells_what_pointing_would(open_page: Open, phone: Chrome) -> None:
    browser = open_page(render_report(scenes.report()))
    heading = browser.find_element(By.TAG_NAME, "h1")
    gateway = browser.find_elements(By.CSS_SELECTOR, "svg.mesh .gateway .node")[0]
    assert wait_for(lambda: "gateway in" in tap(browser, gateway))
    assert wait_for(lambda: tap(browser, heading) == "")
    column = browser.find_elements(By.CSS_SELECTOR, ".forecast .slice")[20]
    assert wait_for(lambda: "10:00 to 10:30" in tap(browser, column))
    box = browser.execute_script(
        "const b = document.getElementById('tip').getBoundingClientRect(); return [b.left, b.right]"
    )
    assert box[0] >= 0
    assert box[1] <= 390


def wait_for(holds: Callable[[], bool]) -> bool:
    """Whether something comes true within some seconds; a tap becomes a click when the browser sees fit."""
    deadline = time.monotonic() + 5
    while not (held := holds()) and time.monotonic() < deadline:
        pass
    return held


def test_arrow_keys_go_through_a_picture(open_page: Open) -> None:
    browser = open_page(html(scenes.small(), title="Small"))
    tip = browser.find_element(By.ID, "tip")
    keys = ActionChains(browser)
    keys.send_keys(Keys.TAB).perform()
    assert browser.switch_to.active_element.get_attribute("aria-label") == "Small"
    said = []
    for _ in range(4):
        keys.send_keys(Keys.ARROW_RIGHT).perform()
        said.append(tip.text)
    assert all(said)
    assert len(set(said)) == 4
    keys.send_keys(Keys.ARROW_LEFT).perform()
    assert tip.text == said[2]
    keys.send_keys(Keys.ESCAPE).perform()
    assert tip.text == ""


def test_focus_on_an_intent_tells_its_figures(open_page: Open) -> None:
    browser = open_page(html(scenes.small(), title="Small"))
    keys = ActionChains(browser)
    keys.send_keys(Keys.TAB, Keys.TAB).perform()
    assert browser.switch_to.active_element.tag_name == "tr"
    assert "round trip 40.0 ms" in browser.find_element(By.ID, "tip").text


def test_svg_alone_is_a_picture(open_page: Open) -> None:
    browser = open_page(svg(scenes.small(), title="Small"), "svg")
    assert browser.execute_script("return document.documentElement.tagName") == "svg"
    assert browser.execute_script("return getComputedStyle(document.querySelector('.active')).strokeWidth") == "3.4px"
