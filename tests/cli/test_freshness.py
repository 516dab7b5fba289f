"""Settings of freshness: what is accepted, how it is followed, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.rules.freshness import FreshnessRules
from tests.ground import PLAIN, Ground

ALL = {"no-cache", "no-store", "max-age", "max-stale", "min-fresh", "only-if-cached", "pragma"}


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def rules(ground: Ground, text: str, **environ: str) -> FreshnessRules:
    return next(iter(ground.settings(f"{PLAIN}freshness: {text}\n", **environ).route_table())).freshness


@pytest.mark.parametrize(
    ("text", "heeded"),
    [
        ("all", ALL),
        ("none", set()),
        ("off", set()),
        ("true", ALL),  # as the key was before
        ("false", set()),
        ("pragma", {"pragma"}),
        ("[no-cache, pragma]", {"no-cache", "pragma"}),
        ("[]", set()),
    ],
)
def test_directives_of_clients_are_heeded_all_none_or_some(ground: Ground, text: str, heeded: set[str]) -> None:
    assert rules(ground, f"{{honour_request_directives: {text}}}").honour_request_directives == heeded


def test_errors_have_bounds_by_status(ground: Ground) -> None:
    found = rules(ground, "{negative_lifetime: 5s, negative: {404: 10s, 503: 2}}")

    assert [found.negative_bound(status) for status in (404, 503, 410, 500)] == [10.0, 2.0, 5.0, None]


def test_names_of_fields_may_be_written_in_any_case(ground: Ground) -> None:
    found = rules(ground, "{targeted: [Shield-Cache-Control, CDN-Cache-Control], tags: [X-Tags], strip_tags: true}")

    assert (found.targeted, found.tags) == ((b"shield-cache-control", b"cdn-cache-control"), (b"x-tags",))
    assert found.dropped == {b"shield-cache-control", b"x-tags"}
    assert rules(ground, "{targeted: none, tags: []}").targeted == ()


def test_variables_can_say_it_too(ground: Ground) -> None:
    environ = {
        "SHIELD_FRESHNESS__NEGATIVE__404": "1m",
        "SHIELD_FRESHNESS__HONOUR_REQUEST_DIRECTIVES": '["no-cache"]',
        "SHIELD_FRESHNESS__FORCED_LIFETIME": "10m",
    }

    found = rules(ground, "{negative: {410: 2s}}", **environ)

    assert (found.negative, found.forced_lifetime) == ({404: 60.0, 410: 2.0}, 600.0)
    assert found.honour_request_directives == {"no-cache"}


def test_a_route_takes_over_what_it_does_not_say(ground: Ground) -> None:
    text = (
        f"{PLAIN}freshness: {{set_cookie: strip, negative: {{404: 1s}}}}\n"
        "routes: {a: {match: /a, freshness: {negative: {410: 2s}}}, b: {}}\n"
    )

    routes = {route.name: route.freshness for route in ground.settings(text).route_table()}

    assert (routes["a"].set_cookie, routes["a"].negative) == ("strip", {410: 2.0})
    assert (routes["b"].set_cookie, routes["b"].negative) == ("strip", {404: 1.0})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "{strip_set_cookie: true}",
            "strip_set_cookie is gone; expected set_cookie: strip for true, refuse for false",
        ),
        ("{honour_request_directives: no-cach}", "expected all, none, or a list of no-cache no-store"),
        ("{honour_request_directives: [no-cach]}", 'did you mean "no-cache"?'),
        ("{negative: {302: 1s}}", "expected statuses from 400 to 599, as 404: 10s"),
        ("{negative: {404: soon}}", "freshness.negative.404: got"),
        ("{negative: 5s}", "expected a mapping"),
        ("{targeted: [a b]}", "expected a field's name"),
        ("{targeted: [Cache-Control]}", "expected a field's name"),
        ("{set_cookie: yes}", "expected one of refuse strip store"),
        ("{forced_lifetime: soon}", "expected a duration"),
    ],
)
def test_what_is_wrong_is_said_in_words(ground: Ground, text: str, problem: str) -> None:
    (said,) = ground.problems(f"{PLAIN}freshness: {text}\n")

    assert problem in said
    assert said.startswith("shield.yaml:5: freshness")


ALONE = " is for that request alone, unless it says public, s-maxage or must-revalidate, or names the field in Vary"


@pytest.mark.parametrize(
    ("route", "freshness", "notes"),
    [
        ("{forward_request_headers: [accept]}", "{}", []),
        ("{forward_request_headers: [cookie]}", "{}", ["the answer to a request with cookie is"]),
        ("{forward_request_headers: [x-user]}", "{credentials: [X-User]}", ["a request with x-user is"]),
        ("{forward_request_headers: [x_user]}", "{credentials: [X-User]}", ["a request with x_user is"]),
        (
            "{forward_request_headers: all}",
            "{credentials: [cookie]}",
            ["a request with authorization cookie is", "x-api-key x-auth-token x-session-token may"],
        ),
        ("{forward_request_headers: [cookie]}", "{credentials: none}", ["cookie may say"]),
        ("{forward_request_headers: [cookie], freshness: {credentials: none}}", "{}", ["cookie may say"]),
    ],
)
def test_what_comes_of_credentials_that_origins_see_is_noted(
    ground: Ground, route: str, freshness: str, notes: list[str]
) -> None:
    found = ground.load(f"{PLAIN}freshness: {freshness}\nroutes: {{a: {route}}}\n").notes

    assert len(found) == len(notes)
    for said, part in zip(found, notes, strict=True):
        assert ": routes.a.forward_request_headers: " in said
        assert part in said
        assert ALONE in said or "EVERYONE MAY GET THE ANSWER" in said
