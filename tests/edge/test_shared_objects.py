"""Several routes to the same objects: none serves entries of another's rules, or objects that another protects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shield.build.regime import regime_of
from shield.config.settings import Settings
from shield.errors import ConfigError
from tests.disks import settled, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.raw import answer
from tests.ground import PLAIN, Ground
from tests.node import FakeClock, Shield, settings_of

RAW: dict[str, Any] = {"match": "/raw", "strip": "/raw"}


@pytest.mark.parametrize(
    ("own", "lines", "shows"),
    [
        (
            {"response_fields": {"internals": "pass"}},
            ["Cache-Control: max-age=60", "X-Amz-Meta-Owner: me"],
            "x-amz-meta-owner",
        ),
        ({"freshness": {"ignore_cache_control": True}}, ["Cache-Control: private", "X-Mine: 1"], "x-mine"),
        ({"freshness": {"set_cookie": "store"}}, ["Cache-Control: max-age=60", "Set-Cookie: a=b"], "set-cookie"),
        ({"response_fields": {"set": {"x-admin": "1"}}}, ["Cache-Control: max-age=60"], "x-admin"),
    ],
)
def test_what_one_routes_rules_stored_no_other_serves(
    origin: FaultyOrigin, clock: FakeClock, own: dict[str, Any], lines: list[str], shows: str
) -> None:
    origin.answers("/a", answer(*lines, body="1"), times=1)
    origin.answers("/a", answer("Cache-Control: max-age=60", body="2"))
    routes = {"strict": {"response_fields": {"internals": "strip"}}, "raw": {**RAW, **own}}

    with Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield:
        first = [shield.get("/raw/a") for _ in range(2)]
        strict = [shield.get("/a") for _ in range(2)]

    assert [(one.body, one.get(shows) is not None) for one in first] == [(b"1", True)] * 2
    assert first[1].hit
    assert [(one.body, one.get(shows)) for one in strict] == [(b"2", None)] * 2
    assert strict[1].hit


def test_routes_of_equal_rules_share_their_entries(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"a", lifetime=60)
    routes = {
        "plain": {"freshness": {"grace": "1m"}},
        "other": {
            "match": "/o",
            "strip": "/o",
            "freshness": {"grace": "60s"},
            "query": {"allow": ["w"]},
            "max_variants": 2,
        },
    }

    with Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield:
        first, other = shield.get("/a"), shield.get("/o/a")

    assert (first.hit, other.hit) == (False, True)


def test_a_change_of_a_routes_rules_begins_anew_and_going_back_finds_what_was(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/a", b"a", lifetime=6000, fields={"x-amz-meta-a": "1"})
    cache = with_disk(origin, tmp_path).cache

    def told(internals: str) -> tuple[bool, str | None]:
        fields = {"internals": internals}
        with Shield(settings_of({"fra": origin}, response_fields=fields, cache=cache), clock=clock) as shield:
            one = shield.get("/a")
            settled(shield)
            return one.hit, one.get("x-amz-meta-a")

    assert [told(each) for each in ("pass", "strip", "pass", "strip")] == [
        (False, "1"),
        (False, None),
        (True, "1"),
        (True, None),
    ]


def test_a_purge_removes_an_object_under_all_policies(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"a", lifetime=60)
    routes = {"strict": {}, "raw": {**RAW, "response_fields": {"internals": "strip"}}}

    with Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield:
        for target in ("/a", "/raw/a"):
            shield.get(target)
        removed = shield.run(shield.node.purge.targets([b"/raw/a"]))
        again = [shield.get(target).hit for target in ("/a", "/raw/a")]
        shield.run(shield.node.purge.prefix((b"/",)))
        under = [shield.get(target).hit for target in ("/a", "/raw/a")]

    assert (removed, again, under) == (2, [False, False], [False, False])


# access

KEY = "0123456789abcdef"
GUARD = f"access: {{require: [header], header: {{secrets: [{KEY}]}}}}\n"


@pytest.mark.parametrize(
    ("routes", "problems"),
    [
        ("{a: {}, pub: {match: /pub, access: off}}", []),
        ("{a: {}, pub: {match: /pub, strip: /pub, add: /pub, access: off}}", []),
        (
            "{a: {}, pub: {match: /pub, strip: /pub, access: off}}",
            [
                "pub.access: it requires nothing, and its clients reach objects below / for which route a requires "
                "header"
            ],
        ),
        ("{a: {}, pub: {match: /pub, strip: /pub, access: off, shares: true}}", []),
        ("{a: {}, pub: {match: /pub, strip: /pub, access: header}}", []),
        ("{a: {access: off}, pub: {match: /pub, strip: /pub}}", ["a.access: it requires nothing"]),
        ("{a: {access: off, shares: true}, pub: {match: /pub, strip: /pub}}", []),
        ("{a: {}, pub: {match: /pub, strip: /pub, add: /secret, access: off}}", ["pub.access: it requires nothing"]),
        ("{a: {match: /a}, pub: {match: /pub, strip: /pub, add: /b, access: off}}", []),
    ],
)
def test_a_laxer_way_to_guarded_objects_must_be_meant(tmp_path: Path, routes: str, problems: list[str]) -> None:
    ground, text = Ground(tmp_path), f"{PLAIN}{GUARD}routes: {routes}\n"
    if not problems:
        regime_of(ground.settings(text), workers=1)
        return

    found = ground.problems(text)

    assert len(found) == len(problems)
    for said, part in zip(found, problems, strict=True):
        assert f"shield.yaml:6: routes.{part}" in said
        assert said.endswith("; expected as much here, other paths or origins, or shares: true")


def test_origins_of_two_names_and_one_place_have_the_same_objects(tmp_path: Path) -> None:
    text = (
        "origins: {a: {provider: http, endpoint: 'http://127.0.0.1:1'}, b: {provider: http, endpoint: 'http://127.0.0.1:1/'}}\n"
        f"{GUARD}routes: {{a: {{origins: [a]}}, pub: {{match: /pub, strip: /pub, origins: [b], access: off}}}}\n"
    )

    (found,) = Ground(tmp_path).problems(text)

    assert "for which route a requires header" in found


def test_what_is_meant_is_noted_and_what_has_no_effect_as_well(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    meant = "routes: {a: {}, pub: {match: /pub, strip: /pub, access: off, shares: true}}\n"
    idle = "routes: {a: {}, pub: {match: /pub, access: off, shares: true}}\n"

    (noted,), (without,) = (ground.load(PLAIN + GUARD + text).notes for text in (meant, idle))

    assert noted.endswith("routes.pub.shares: its clients reach objects below / without what route a requires")
    assert without.endswith("routes.pub.shares: has no effect: no other route protects its objects")


def test_no_regime_is_made_of_it(origin: FaultyOrigin) -> None:
    """Whoever made the settings, and without a check."""
    access = {"require": ["header"], "header": {"secrets": [KEY]}}
    routes = {"a": {}, "pub": {**RAW, "access": "off"}}
    settings: Settings = settings_of({"fra": origin}, access=access, routes=routes)

    with pytest.raises(ConfigError, match=r"routes\.pub\.access: it requires nothing"):
        regime_of(settings, workers=1)
