from __future__ import annotations

from pathlib import Path

import pytest

from shield.cli.explain import explain
from shield.rules.written import target_of

SETTINGS = """\
node: fra-1
origins:
  fra: {provider: ceph, endpoint: "http://127.0.0.1:5001", bucket: images, role: primary,
        access_key_id: AKEXAMPLE, secret_key: topsecret, session_token: toptoken}
  web: {provider: http, endpoint: "https://files.example/static"}
routes:
  images: {match: /images, strip: /images, add: /v2, query: {allow: [w, h]}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "shield.yaml"
    path.write_text(SETTINGS)
    return path


def test_it_shows_key_route_origins_urls_and_what_is_signed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = explain("https://cdn.example/images//a%62c/thumb.webp?w=1&x=2", config)

    said = capsys.readouterr().out
    assert code == 0
    assert "route      images (prefix /images)" in said
    assert "key        :/v2/abc/thumb.webp?w=1" in said
    assert "origins    fra, web" in said
    assert "GET http://127.0.0.1:5001/images/v2/abc/thumb.webp?w=1" in said
    assert "| x-amz-security-token:<redacted>" in said
    assert "GET https://files.example/static/v2/abc/thumb.webp?w=1\n  not signed" in said
    assert "topsecret" not in said
    assert "toptoken" not in said


def test_a_url_that_is_refused_says_how(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("/images/%zz", config) == 1
    assert "400" in capsys.readouterr().out
    assert explain("/images", config) == 1
    assert "404" in capsys.readouterr().out


def test_settings_that_can_not_be_used_are_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("/a", tmp_path / "none.yaml") == 2
    assert "none.yaml: can't be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://cdn.example", b"/"),
        ("https://cdn.example/a?b#c", b"/a?b"),
        ("/a b/ä#x", b"/a%20b/%C3%A4"),
        ("/a%20b", b"/a%20b"),
    ],
)
def test_the_target_that_a_client_would_send(url: str, target: bytes) -> None:
    assert target_of(url) == target
