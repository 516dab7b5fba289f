"""Settings of PURGE requests and of purges at CDNs: their meaning, errors and notes; no secret is ever printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.build.edges import edge_targets
from shield.build.regime import purge_access
from shield.config.settings import Settings
from shield.messages import Request
from tests.ground import PLAIN, Ground
from tests.node import FakeClock

SECRET = "hunter2-hunter2-hunter2"
OTHER = "swordfish-swordfish-swordfish"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def admits(settings: Settings, secret: str = "", peer: str = "192.0.2.1") -> bool:
    access = purge_access(settings)
    assert access is not None
    return access.objection(Request.of(b"PURGE", b"/a", [(b"fastly-key", secret.encode())]), peer) is None


def test_it_is_off_without_the_section(ground: Ground) -> None:
    assert purge_access(ground.settings(PLAIN)) is None


@pytest.mark.parametrize("source", ["yaml", "file", "secrets", "variable"])
def test_secrets_come_from_wherever_secrets_come_from(ground: Ground, tmp_path: Path, source: str) -> None:
    environ = {"SHIELD_PURGE_METHOD__SECRETS": f"[{SECRET}, {OTHER}]"} if source == "variable" else {}
    text = {
        "yaml": f"purge_method: {{secrets: [{SECRET}, {OTHER}]}}\n",
        "file": "purge_method: {secrets_file: purge.secrets}\n",
    }.get(source, "")
    (tmp_path / "purge.secrets").write_text(f"{SECRET}\n{OTHER}\n")
    if source == "secrets":
        ground.secret("shield_purge_method__secrets", f"{SECRET}\n{OTHER}\n")

    settings = ground.settings(PLAIN + text, **environ)

    assert [admits(settings, each) for each in (SECRET, OTHER, "other-other-other")] == [True, True, False]
    assert SECRET not in repr(settings) + settings.model_dump_json()


def test_addresses_are_enough_or_needed_besides(ground: Ground) -> None:
    alone = ground.settings(PLAIN + "purge_method: {allow: [192.0.2.0/24]}\n")
    both = ground.settings(PLAIN + f"purge_method: {{allow: [192.0.2.0/24], secrets: [{SECRET}]}}\n")

    assert [admits(alone), admits(alone, peer="198.51.100.1")] == [True, False]
    assert [admits(both), admits(both, SECRET), admits(both, SECRET, "198.51.100.1")] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("purge_method: {}\n", "purge_method.secrets: there are none; expected secrets or secrets_file here"),
        ("purge_method: {secrets: [short]}\n", "expected 16 characters at least"),
        ("purge_method: {allow: [everyone]}\n", "expected a network or address"),
        ("purge_method: {secret: x}\n", "purge_method.secret: unknown key"),
    ],
)
def test_a_problem_says_what_was_expected(ground: Ground, text: str, problem: str) -> None:
    (found,) = ground.problems(PLAIN + text)

    assert problem in found
    assert "short" not in found and "everyone is" not in found


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("purge_method: {allow: [0.0.0.0/0]}\n", "0.0.0.0/0 is everyone: ANYONE CAN PURGE"),
        (
            f"listen: 0.0.0.0:8080\naccess: off\npurge_method: {{secrets: [{SECRET}]}}\n",
            "purge_method.secrets: secrets arrive in plain HTTP, readable on the way",
        ),
    ],
)
def test_what_had_better_be_known_is_noted(ground: Ground, text: str, note: str) -> None:
    assert any(note in each for each in ground.load(PLAIN + text).notes)


def test_the_example_is_accepted_without_its_comment_signs(ground: Ground) -> None:
    example = Path(__file__).parents[1] / "config" / "shield.yaml"
    lines = example.read_text().split("# purge_method:\n")[1].split("\n\n")[0].splitlines()
    text = "purge_method:\n" + "\n".join(line.removeprefix("#") for line in lines if "secrets_file" not in line)

    assert admits(ground.settings(f"{PLAIN}{text}\n"), "0123456789abcdef0123456789abcdef")


def edge(keys: str) -> str:
    return f"{PLAIN}purge: {{edges: {{images: {{{keys}}}}}}}\n"


CLOUDFLARE = "provider: cloudflare, zone: z1, base_url: https://images.example/"
CLOUDFRONT = "provider: cloudfront, distribution: E1"


@pytest.mark.parametrize("source", ["yaml", "file", "secrets", "variable"])
def test_a_token_of_a_cdn_comes_from_wherever_secrets_come_from(ground: Ground, tmp_path: Path, source: str) -> None:
    environ = {"SHIELD_PURGE__EDGES__IMAGES__TOKEN": SECRET} if source == "variable" else {}
    more = {"yaml": f", token: {SECRET}", "file": ", token_file: it"}.get(source, "")
    (tmp_path / "it").write_text(f"{SECRET}\n")
    if source == "secrets":
        ground.secret("shield_purge__edges__images__token", SECRET)

    loaded = ground.load(edge(CLOUDFLARE + more), **environ)

    (target,) = edge_targets(loaded.settings, FakeClock())
    assert target.secrets.token == SECRET and target.edge.base_urls == ("https://images.example",)
    assert SECRET not in repr(loaded.settings) + loaded.settings.model_dump_json() + repr(target)
    assert ("purge", "edges", "images", "token") in loaded.secrets


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (CLOUDFLARE, "cloudflare needs token; expected it, or token_file"),
        ("provider: bunny, zone: z1, token: x", "bunny needs pullzone, and no other id"),
        ("provider: fastly, token: x", "fastly needs service, and no other id"),
        ("provider: fastly, service: s1, token: x", "fastly needs base_url"),
        (f"{CLOUDFRONT}, secret_key: x", "cloudfront needs access_key_id"),
        (f"{CLOUDFRONT}, secret_key: x, access_key_id: y, token: z", "cloudfront has no token"),
        (f"{CLOUDFRONT}, secret_key: x, credentials: {{chain: aws}}", "credentials stand for the keys"),
        (f"{CLOUDFLARE}, credentials: {{chain: aws}}", "cloudflare has no credentials; expected token"),
        (f"{CLOUDFRONT}, credentials: {{command: [/no/such-program]}}", "expected a program that can be run"),
        (f"{CLOUDFLARE}, token: x, api: ftp://it", "expected http:// or https:// and a host"),
        ("provider: fastly, service: a/b, token: x, base_url: https://i.example", "expected the id"),
        ("provider: akamai, token: x", "provider"),
    ],
)
def test_what_a_cdn_lacks_is_said(ground: Ground, keys: str, problem: str) -> None:
    (found,) = ground.problems(edge(keys))

    assert "purge.edges.images" in found and problem in found


def test_cloudfront_needs_no_base_url(ground: Ground) -> None:
    settings = ground.settings(edge(f"{CLOUDFRONT}, secret_key: x, access_key_id: y, again: 0s"))

    (target,) = edge_targets(settings, FakeClock())
    assert (target.edge.place, target.api, target.again) == ("E1", "https://cloudfront.amazonaws.com", 0.0)


def test_an_api_of_a_cdn_over_plain_http_is_noted(ground: Ground) -> None:
    def notes(api: str) -> str:
        return " ".join(ground.load(edge(f"{CLOUDFLARE}, token: x, api: '{api}'")).notes)

    assert "purge.edges.images.api: its token is sent over plain HTTP" in notes("http://proxy.example")
    assert "plain HTTP" not in notes("http://127.0.0.1:8080") + notes("https://proxy.example")
