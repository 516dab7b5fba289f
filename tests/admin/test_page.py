"""The page of the admin listener in a real browser: it shows the traffic of all workers, and carries out orders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import browser
from tests.client import PATIENCE, Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def replica() -> Iterator[FaultyOrigin]:
    with FaultyOrigin() as made:
        yield made


@pytest.fixture
def node(tmp_path: Path, replica: FaultyOrigin) -> Iterator[Process]:
    with FaultyOrigin() as origin:
        yield from started(tmp_path, origin, replica)


def started(tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin) -> Iterator[Process]:
    for number in range(20):
        for each in (origin, replica):
            each.serves(f"/images/{number}", bytes(1000), lifetime=3600)
    origins = {
        "fra": {"provider": "http", "endpoint": origin.url, "role": "primary"},
        "iad": {"provider": "http", "endpoint": replica.url, "role": "replica"},
    }
    with Process(settings_file(tmp_path, origin, origins=origins, workers=2)) as made:
        yield made


class Page:
    """What a person sees and does."""

    def __init__(self, chrome: Chrome, node: Process) -> None:
        self.chrome = chrome
        chrome.get("about:blank")  # ends the page of the test before, and its complaints
        chrome.get_log("browser")  # type: ignore[no-untyped-call]
        chrome.get(f"http://127.0.0.1:{node.admin_port}/")
        self.wait_for("#stream", "live")

    def text(self, css: str) -> str:
        return " ".join([each.text for each in self.chrome.find_elements(By.CSS_SELECTOR, css)])

    def wait_for(self, css: str, text: str) -> None:
        WebDriverWait(self.chrome, PATIENCE, 0.05).until(lambda _: text in self.text(css), f"{css}: {self.text(css)}")

    def click(self, css: str, text: str) -> None:
        found = [each for each in self.chrome.find_elements(By.CSS_SELECTOR, css) if each.text == text]
        assert found, f"no {text} among {css}: {self.text(css)}"
        found[0].click()

    def tile(self, name: str) -> str:
        for tile in self.chrome.find_elements(By.CSS_SELECTOR, ".tile"):
            value, label = tile.text.split("\n")
            if label == name:
                return value
        raise AssertionError(f"no tile {name}: {self.text('.tile')}")

    def complaints(self) -> list[str]:
        """Errors of scripts, and what the page wasn't allowed to load."""
        return [entry["message"] for entry in self.chrome.get_log("browser") if "404" not in entry["message"]]  # type: ignore[no-untyped-call]


def test_the_traffic_of_all_workers_moves_on_the_page(chrome: Chrome, node: Process) -> None:
    page = Page(chrome, node)
    page.wait_for("#about", "2 workers")

    for number in range(100):
        with Client(node.port) as client:  # each its own: all workers get some
            client.ask(f"/images/{number % 20}")

    page.wait_for("#legend", "hit")
    page.wait_for("#legend", "miss")
    page.wait_for("#origins tbody", "up")
    assert page.text("#node") == "test-1"
    assert page.text("#ready") == "ready"
    assert page.tile("clients connected") == "0"
    assert page.text("#fills").startswith("under way")
    assert page.complaints() == []


def test_an_origin_is_drained_and_restored_from_the_page(
    chrome: Chrome, node: Process, replica: FaultyOrigin
) -> None:
    page = Page(chrome, node)
    page.wait_for("#origins tbody", "fra")

    page.click("#origins button", "Drain")
    page.wait_for("#sure-text", "Drain fra?")
    page.click("#sure button", "Yes")
    page.wait_for("#notice", "fra is drained")
    page.wait_for("#origins tbody", "drained")

    with Client(node.port) as client:
        assert client.ask("/images/1").status == 200
    assert replica.fetches("/images/1") == 1

    page.click("#origins button", "Restore")
    page.wait_for("#notice", "fra is restored")
    assert page.complaints() == []


def test_an_order_that_people_take_back_isnt_carried_out(chrome: Chrome, node: Process) -> None:
    page = Page(chrome, node)
    page.wait_for("#origins tbody", "fra")

    page.click("#origins button", "Drain")
    page.wait_for("#sure-text", "Drain fra?")
    page.click("#sure button", "No")
    page.click("#reload", "Reload settings")
    page.wait_for("#sure-text", "Read the settings again")
    page.click("#sure button", "Yes")

    page.wait_for("#notice", "settings of generation 2 are in force")
    assert "drained" not in page.text("#origins tbody")


def test_the_page_says_so_when_the_node_is_away(chrome: Chrome, node: Process) -> None:
    page = Page(chrome, node)

    node.signal()
    node.ended()

    page.wait_for("#stream", "not live")
