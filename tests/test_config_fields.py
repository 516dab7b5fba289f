"""Settings of response fields, and their inheritance by routes."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from shield.rules.fields import FieldRules
from shield.rules.headers import INTERNAL
from shield.rules.locations import PathMapping
from tests.ground import PLAIN, Ground

TWO = PLAIN + "  s3: {provider: aws, region: eu-central-1, bucket: b, access_key_id: a, secret_key: s}\n"
NOSNIFF = (b"x-content-type-options", b"nosniff")


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def rules(ground: Ground, text: str, route: str = "default") -> dict[str, FieldRules]:
    """Of a route, by origin; where these are is looked at by itself."""
    return {name: replace(found, mapping=None) for name, found in _placed(ground, text, route).items()}


def _placed(ground: Ground, text: str, route: str = "default") -> dict[str, FieldRules]:
    found = next(one for one in ground.settings(TWO + text).route_table() if one.name == route)
    return dict(found.fields.by_origin)


def test_an_http_origins_own_place_is_known_to_its_routes_unless_it_is_to_be_left(ground: Ground) -> None:
    left = ", response_fields: {rewrite_location: no}"
    routes = f"routes:\n  default: {{}}\n  own: {{match: /own, strip: /own, add: /x{left}}}\n"

    placed = _placed(ground, routes)

    assert placed["fra"].mapping == PathMapping(b"127.0.0.1:5001", tls=False)
    assert placed["s3"].mapping is None
    assert _placed(ground, routes, "own")["fra"].mapping is None
    moved = _placed(ground, routes.replace(left, ""), "own")["fra"].mapping
    assert moved == PathMapping(b"127.0.0.1:5001", tls=False, below=b"/x", strip=b"/own")


def test_storages_internals_are_stripped_and_their_types_not_guessed_at(ground: Ground) -> None:
    assert rules(ground, "") == {
        "fra": FieldRules(prefixes=(), digests="asked"),
        "s3": FieldRules(prefixes=INTERNAL, set=(NOSNIFF,), digests="asked", md5_etags=True, storage=True),
    }


def test_a_route_takes_over_what_it_doesnt_say(ground: Ground) -> None:
    text = (
        "response_fields: {remove: [X-Internal, x-debug-*], set: {Timing-Allow-Origin: '*'}, digests: off}\n"
        "routes:\n"
        "  default: {response_fields: {add: {link: '</a>; rel=preload'}, nosniff: no}}\n"
        "  own: {match: /own, response_fields: {remove: [], internals: pass, keep: [x-amz-meta-*]}}\n"
    )

    assert rules(ground, text)["s3"] == FieldRules(
        remove=(b"x-internal", b"x-debug-*"),
        set=((b"timing-allow-origin", b"*"),),
        add=((b"link", b"</a>; rel=preload"),),
        md5_etags=True,
        storage=True,
    )
    assert rules(ground, text, "own")["s3"] == FieldRules(
        prefixes=(),
        keep=(b"x-amz-meta-*",),
        set=((b"timing-allow-origin", b"*"), NOSNIFF),
        md5_etags=True,
        storage=True,
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("set: {x-content-type-options: other}", ((b"x-content-type-options", b"other"),)),
        ("remove: [x-content-type-options]", ()),
        ("remove: [x-*]", ()),
        ("nosniff: false", ()),
    ],
)
def test_who_says_something_of_types_himself_is_heeded(
    ground: Ground, text: str, value: tuple[tuple[bytes, bytes], ...]
) -> None:
    assert rules(ground, f"response_fields: {{{text}}}\n")["s3"].set == value


def test_internals_may_be_stripped_of_any_provider(ground: Ground) -> None:
    assert rules(ground, "response_fields: {internals: strip}\n")["fra"].prefixes == INTERNAL


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("remove: [etag]", "expected no field about a response's length*"),
        ("remove: ['*']", "expected no field about a response's*"),
        ("remove: [content-*]", "expected no field about a response's*"),
        ("remove: ['x debug']", "expected a field's name, as x-debug, or x-debug-\\* for a prefix"),
        ("remove: ['x-*-y']", "expected a field's name*"),
        ("keep: ['x:']", "expected a field's name*"),
        ("set: {Content-Length: '1'}", "expected no field about a response's*"),
        ("add: {age: '1'}", "expected no field about a response's*"),
        ("set: {x-*: '1'}", "expected whole names, without a star"),
        ('set: {x: "a\\r\\nb: c"}', "expected printable ASCII without blanks at its ends"),
        ("set: {x: ' '}", "expected printable ASCII*"),
        ("add: {x: 'ü'}", "expected printable ASCII*"),
    ],
)
def test_what_would_break_answers_is_refused(ground: Ground, text: str, problem: str) -> None:
    (found,) = ground.problems(f"{TWO}response_fields: {{{text}}}\n")

    assert "response_fields" in found
    assert fnmatch(found, f"*{problem}".replace("\\*", "[*]")), found


@pytest.mark.parametrize(
    ("text", "server"),
    [("", None), ("server: off", None), ("server: shield", "shield"), ("server: 'images (fra)'", "images (fra)")],
)
def test_answers_name_a_server_only_where_that_is_wanted(ground: Ground, text: str, server: str | None) -> None:
    assert ground.settings(PLAIN + text).server == server


def test_a_server_can_not_break_heads(ground: Ground) -> None:
    assert ground.problems(PLAIN + 'server: "a\\r\\nb: c"')


def test_fields_can_be_given_as_variables(ground: Ground) -> None:
    settings = ground.load(
        PLAIN, SHIELD_RESPONSE_FIELDS__SET__TIMING_ALLOW_ORIGIN="*", SHIELD_RESPONSE_FIELDS__REMOVE="[x-a, x-b-*]"
    ).settings

    assert settings.response_fields.set == {"timing-allow-origin": "*"}
    assert settings.response_fields.remove == ("x-a", "x-b-*")
