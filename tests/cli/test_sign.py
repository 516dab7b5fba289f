"""`shield sign-url`: the link that it makes holds, and what it can't sign it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shield.build.regime import access_rules
from shield.cli import _app as app
from shield.rules.signed_urls import signable
from tests.ground import PLAIN, Ground

KEY = "0123456789abcdef0123456789abcdef"
LINKS = f"access: {{signed_urls: {{keys: {{k1: {KEY}}}}}}}\n"
HEADER = "access: {header: {secrets: [hunter2-hunter2-hunter2]}}\n"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def sign(ground: Ground, *arguments: str) -> tuple[int, str]:
    ran = CliRunner().invoke(app, ["sign-url", "--config", str(ground.file), *arguments])
    return ran.exit_code, ran.output


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("/images//a.webp", "/images//a.webp?expires="),
        ("https://cdn.example:8443/a b?w=1&utm=2#top", "https://cdn.example:8443/a%20b?w=1&utm=2&expires="),
    ],
)
def test_a_link_that_is_made_holds(ground: Ground, url: str, start: str) -> None:
    settings = ground.settings(PLAIN + LINKS)

    code, out = sign(ground, url, "--lifetime", "15min")

    assert (code, out.startswith(start)) == (0, True)
    target = re.sub(r"^https://[^/]+", "", out.strip()).encode()
    rules, routes = access_rules(settings), settings.route_table()
    assert rules is not None and rules.links is not None
    links = rules.links
    bare, link = links.taken_off(target)
    assert link is not None and link.key == b"k1"
    text, until = signable(bare, routes.resolve(bare)), int(link.expires)
    assert links.objection(link, text, until - 1) is None
    assert links.objection(link, text, until) == "expired"


@pytest.mark.parametrize(
    ("text", "arguments", "code", "said"),
    [
        (LINKS, ["/a", "--key", "k2"], 2, "--key: expected one of k1"),
        (LINKS, ["/a", "--lifetime", "long"], 2, "--lifetime: expected a duration"),
        (HEADER, ["/a"], 2, "access.signed_urls: there is none"),
        ("", ["/a"], 2, "access.signed_urls: there is none"),
        (LINKS, ["/a%zz"], 1, "refused    400 bad-escape"),
        ("nodes: x\n", ["/a"], 2, "unknown key"),
    ],
)
def test_what_cant_be_signed_is_said(ground: Ground, text: str, arguments: list[str], code: int, said: str) -> None:
    ground.file.write_text(PLAIN + text)

    ended, out = sign(ground, *arguments)

    assert (ended, said in out) == (code, True)
    assert KEY not in out
