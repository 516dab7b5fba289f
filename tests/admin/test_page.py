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


@pytest.fixture(scope="module")
def copies() -> Iterator[tuple[FaultyOrigin, FaultyOrigin]]:
    with FaultyOrigin() as origin, FaultyOrigin() as replica:
        yield origin, replica


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, copies: tuple[FaultyOrigin, FaultyOrigin]) -> Iterator[Process]:
    origin, replica = copies
    for number in range(20):
        for each in copies:
            each.serves(f"/images/{number}", bytes(1000), lifetime=3600)
    origins = {
        "fra": {"provider": "http", "endpoint": origin.url, "role": "primary"},
        "iad": {"provider": "http", "endpoint": replica.url, "role": "replica"},
    }
    settings = settings_file(tmp_path_factory.mktemp("node"), origin, origins=origins, workers=2)
    with Process(settings) as made:
        yield made


class Page:
    """What a person sees and does."""

    def __init__(self, chrome: Chrome, node: Process, *, token: str = "") -> None:
        self.chrome = chrome
        chrome.get("about:blank")  # ends the page of the test before, and its complaints
        chrome.get_log("browser")  # type: ignore[no-untyped-call]
        chrome.get(f"http://127.0.0.1:{node.admin_port}/")
        if token:
            field = chrome.find_element(By.ID, "token")
            WebDriverWait(chrome, PATIENCE, 0.05).until(lambda _: field.is_displayed())
            field.send_keys(token)
            self.click("#sign-in button", "Use it")
        self.wait_for("#stream", "live")

    def text(self, css: str) -> str:
        return " ".join([each.text for each in self.chrome.find_elements(By.CSS_SELECTOR, css)])

    def wait_for(self, css: str, text: str) -> None:
        WebDriverWait(self.chrome, PATIENCE, 0.05).until(lambda _: text in self.text(css), f"{css}: {self.text(css)}")

    def click(self, css: str, text: str) -> None:
        found = [each for each in self.chrome.find_elements(By.CSS_SELECTOR, css) if each.text == text]
        assert found, f"no {text} among {css}: {self.text(css)}"
        found[0].click()

    def order(self, css: str, text: str, question: str, answer: str = "Yes") -> None:
        """Click, and answer the question whether it is meant."""
        self.click(css, text)
        self.wait_for("#sure-text", question)
        self.click("#sure button", answer)

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
    assert page.tile("clients connected").isdigit()
    assert page.text("#fills").startswith("in progress")
    assert page.complaints() == []


def test_an_origin_is_drained_and_restored_from_the_page(
    chrome: Chrome, node: Process, copies: tuple[FaultyOrigin, FaultyOrigin]
) -> None:
    copies[1].serves("/drained", b"abc")
    page = Page(chrome, node)
    page.wait_for("#origins tbody", "fra")

    page.order("#origins button", "Drain", "Drain fra?")
    page.wait_for("#notice", "fra is drained")
    page.wait_for("#origins tbody", "drained")

    with Client(node.port) as client:
        assert client.ask("/drained").status == 200
    assert copies[1].fetches("/drained") == 1

    page.click("#origins button", "Restore")
    page.wait_for("#notice", "fra is restored")
    assert page.complaints() == []


def test_an_order_that_people_take_back_isnt_carried_out(chrome: Chrome, node: Process) -> None:
    page = Page(chrome, node)
    page.wait_for("#origins tbody", "fra")

    page.order("#origins button", "Drain", "Drain fra?", "No")
    page.order("#reload", "Reload settings", "Read the settings again")

    page.wait_for("#notice", "settings of generation 2 are in force")
    assert "drained" not in page.text("#origins tbody")


def test_an_entry_is_looked_for_and_purged_from_the_page(chrome: Chrome, node: Process) -> None:
    with Client(node.port) as client:
        client.ask("/images/1")
    page = Page(chrome, node)
    page.chrome.find_element(By.CSS_SELECTOR, "#purge-text").send_keys("/images/1")

    page.click("#purge button", "Preview")
    page.wait_for("#purge-result", "1 entries, 1.0 kB")
    page.order("#purge button", "Purge", "Remove what has the URL /images/1?")
    page.wait_for("#purge-result", "purged: 1 entries\nin 2 workers of test-1")

    with Client(node.port) as client:
        answer = client.ask("/images/1")
    assert "fwd=uri-miss" in str(answer.get("cache-status"))
    assert page.complaints() == []


def test_hot_keys_are_listed_and_none_becomes_markup(chrome: Chrome, node: Process) -> None:
    with Client(node.port) as client:
        for _ in range(50):
            client.ask("/images/%3Cimg%20src=x%20onerror=document.title=1%3E")
    page = Page(chrome, node)

    page.wait_for("#top tbody", "onerror=document.title=1")

    assert page.chrome.find_elements(By.CSS_SELECTOR, "#top img") == []
    assert page.chrome.title.startswith("test-1")


def test_a_token_is_asked_for_what_it_doesnt_allow_is_said_and_so_is_a_node_that_goes_away(
    chrome: Chrome, tmp_path: Path, copies: tuple[FaultyOrigin, FaultyOrigin]
) -> None:
    tokens = {"prometheus": {"role": "read", "secret": "only-for-reading-0123456789"}}
    admin = {"listen": "127.0.0.1:0", "tokens": tokens}
    with Process(settings_file(tmp_path, copies[0], admin=admin)) as node:
        page = Page(chrome, node, token="only-for-reading-0123456789")
        page.wait_for("#origins tbody", "fra")

        page.click("#origins button", "Probe")

        page.wait_for("#notice", "operate")

        node.signal()
        node.ended()

        page.wait_for("#stream", "not live")
