"""What origins send for given URLs, compared: `shield audit --paths`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shield.audit.bucket import ATTEMPTS
from shield.cli import _app
from shield.cli.audit import AuditWish, audit
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Bytes, Head

URLS = ["https://cdn.example/images/a.webp?w=100&x=1", "/images/b%20c.webp", "", "/images/d.webp"]


class Renderers:
    """Two web servers, and settings that name them."""

    def __init__(self, path: Path, one: FaultyOrigin, two: FaultyOrigin) -> None:
        self.one, self.two = one, two
        self._path = path
        self.urls = URLS
        for each in (one, two):
            each.serves("/v1/a.webp", b"a")
            each.serves("/v1/b c.webp", b"bc")
            each.serves("/v1/d.webp", b"d")

    def settings(self) -> Path:
        file = self._path / "shield.json"
        settings = {
            "origins": {
                "two": {"provider": "http", "endpoint": self.two.url},
                "one": {"provider": "http", "endpoint": self.one.url, "role": "primary", "pass_errors": True},
            },
            "routes": {"images": {"match": "/images", "strip": "/images", "add": "/v1", "query": {"allow": ["w"]}}},
        }
        file.write_text(json.dumps(settings))
        return file

    def audit(self, **wish: Any) -> int:
        listed = self._path / "urls"
        listed.write_text("\n".join(self.urls))
        return audit(self.settings(), AuditWish(paths=listed, as_json=True, **wish))


@pytest.fixture
def renderers(tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin) -> Renderers:
    return Renderers(tmp_path, origin, replica)


def told(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """The kind of each finding by path, and the counts at the origin that isn't the reference."""
    *findings, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert last["reference"] == "one" and {each["origin"] for each in findings} <= {"two"}
    return {each["key"]: each["kind"] for each in findings}, last["summary"]["two"]


def test_the_same_outputs_are_the_same(renderers: Renderers, capsys: pytest.CaptureFixture[str]) -> None:
    assert renderers.audit() == 0

    findings, counts = told(capsys)
    assert findings == {} and (counts["same"], counts["compared_bytes"]) == (3, 4)
    asked = sorted(seen.target for seen in renderers.two.requests)
    assert asked == ["/v1/a.webp?w=100", "/v1/b%20c.webp", "/v1/d.webp"]


def test_a_drift_of_the_encoder_shows(renderers: Renderers, capsys: pytest.CaptureFixture[str]) -> None:
    renderers.two.serves("/v1/a.webp", b"A")
    renderers.two.serves("/v1/b c.webp", b"longer")
    renderers.two.absent("/v1/d.webp")

    assert renderers.audit() == 1
    assert told(capsys)[0] == {
        "/v1/a.webp?w=100": "different",
        "/v1/b%20c.webp": "different",
        "/v1/d.webp": "missing",
    }


@pytest.mark.parametrize("status", [302, 403, 500])
def test_an_error_is_no_output_even_if_it_is_the_same_everywhere(
    renderers: Renderers, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    for each in (renderers.one, renderers.two):
        each.makes("/v1/a.webp", lambda request: [Head(status, {"content-length": "2"}), Bytes(b"no")])
    renderers.urls = ["/images/a.webp", "/images/d.webp"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shield.audit.bucket.wait_before", lambda *_: 0.0)
        assert renderers.audit() == 2

    assert told(capsys)[0] == {"/v1/a.webp": "unread"}
    assert renderers.one.fetches("/v1/a.webp") == (ATTEMPTS if status == 500 else 1)


def test_an_origin_that_can_not_be_read_says_nothing_of_another(
    renderers: Renderers, capsys: pytest.CaptureFixture[str]
) -> None:
    renderers.two.makes("/v1/a.webp", lambda request: [Head(403, {"content-length": "0"})])
    renderers.two.serves("/v1/d.webp", b"D")

    assert renderers.audit() == 2
    findings, counts = told(capsys)
    assert findings == {"/v1/a.webp?w=100": "unread", "/v1/d.webp": "different"} and counts["same"] == 1


def test_a_path_that_no_origin_has_was_not_compared(renderers: Renderers, capsys: pytest.CaptureFixture[str]) -> None:
    renderers.urls = ["/images/d.webp", "/images/x.webp"]

    assert renderers.audit() == 2
    assert told(capsys)[0] == {"/v1/x.webp": "unread"}


def test_a_line_that_is_no_url_is_named(renderers: Renderers, capsys: pytest.CaptureFixture[str]) -> None:
    renderers.urls = ["/images/d.webp", "/videos/x"]

    assert renderers.audit() == 2
    assert "urls:2: no-route" in capsys.readouterr().err
    assert audit(renderers.settings(), AuditWish(paths=Path("nowhere"))) == 2
    assert "nowhere: can't be read" in capsys.readouterr().err


def test_one_origin_is_not_enough_and_listings_are_no_option(
    renderers: Renderers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert renderers.audit(origins=("one",)) == 2
    assert "compares two origins at least; there is only one" in capsys.readouterr().err
    assert audit(renderers.settings(), AuditWish(origins=("one", "two"))) == 2
    assert "one is of provider http, which lists no objects; --paths compares it" in capsys.readouterr().err

    asked = CliRunner().invoke(_app, ["audit", "--config", "x", "--paths", "y", "--deep"])
    assert asked.exit_code == 2 and "--paths goes with" in asked.output
