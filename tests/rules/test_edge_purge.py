"""What an order becomes at each CDN, in batches that its API takes; what is said of the rest; and retries."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.edge_purge import (
    APIS,
    EdgeAnswer,
    EdgeCall,
    EdgeProvider,
    EdgeSecrets,
    PurgeEdge,
    fields_of,
    is_purge,
    judge_answer,
    merged,
    next_wait,
    plan,
)
from shield.rules.purge_orders import PurgeOrder

BASE = "https://images.example"
CLOUDFLARE, FASTLY, CLOUDFRONT, BUNNY = (
    PurgeEdge("it", provider, "z1", (BASE,))
    for provider in (EdgeProvider.CLOUDFLARE, EdgeProvider.FASTLY, EdgeProvider.CLOUDFRONT, EdgeProvider.BUNNY)
)
ALL = (CLOUDFLARE, FASTLY, CLOUDFRONT, BUNNY)


def order(**parts: Any) -> PurgeOrder:
    return PurgeOrder("job-1", **parts)


def calls(edge: PurgeEdge, **parts: Any) -> list[tuple[str, str]]:
    return [(call.target, call.body) for call in plan(order(**parts), edge, "job-1-1").calls]


def notes(edge: PurgeEdge, **parts: Any) -> str:
    return " | ".join(plan(order(**parts), edge, "job-1-1").notes)


def paths_of(body: str) -> list[str]:
    """Of an invalidation."""
    assert f"<Quantity>{body.count('<Path>')}</Quantity>" in body
    return re.findall("<Path>(.*?)</Path>", body)


def test_cloudflare_gets_files_prefixes_and_tags() -> None:
    target = "/zones/z1/purge_cache"

    assert calls(CLOUDFLARE, paths=(b"/a.webp?w=1",), tags=(b"x",), prefixes=("/images/abc/", "/")) == [
        (target, '{"files":["https://images.example/a.webp?w=1"]}'),
        (target, '{"prefixes":["images.example/images/abc","images.example"]}'),
        (target, '{"tags":["x"]}'),
    ]
    assert calls(CLOUDFLARE, everything=True) == [(target, '{"purge_everything":true}')]


def test_fastly_gets_urls_and_surrogate_keys_softly_too() -> None:
    found = plan(order(paths=(b"/a.webp",), tags=(b"x", b"y"), soft=True), FASTLY, "job-1-1")

    assert [(call.target, call.body, call.is_soft) for call in found.calls] == [
        ("/service/z1/purge", '{"surrogate_keys":["x","y"]}', True),
        ("/purge/images.example/a.webp", "", True),
    ]
    assert found.notes == ()
    assert calls(FASTLY, everything=True) == [("/service/z1/purge_all", "")]


def test_cloudfront_gets_paths_wildcards_and_tags() -> None:
    (wide, exact) = calls(CLOUDFRONT, paths=(b"/a&b.webp",), tags=(b"x",), prefixes=("/images/ab",))

    assert wide[0] == exact[0] == "/2020-05-31/distribution/z1/invalidation"
    assert paths_of(wide[1]) == ["/images/ab*"]
    assert paths_of(exact[1]) == ["/a&amp;b.webp", "#x"]
    assert "<CallerReference>job-1-1-0</CallerReference>" in wide[1]
    assert "<CallerReference>job-1-1-1</CallerReference>" in exact[1]
    assert paths_of(calls(CLOUDFRONT, everything=True)[0][1]) == ["/*"]


def test_bunny_gets_one_url_or_tag_at_a_time() -> None:
    assert calls(BUNNY, paths=(b"/a b".replace(b" ", b"%20"), b"/dir/"), tags=(b"x",), prefixes=("/i",)) == [
        ("/pullzone/z1/purgeCache", '{"CacheTag":"x"}'),
        ("/purge?url=https%3A%2F%2Fimages.example%2Fa%2520b&async=true", ""),
        ("/purge?url=https%3A%2F%2Fimages.example%2Fdir%2F&async=true&exactPath=true", ""),
        ("/purge?url=https%3A%2F%2Fimages.example%2Fi%2A&async=true", ""),
    ]
    assert calls(BUNNY, everything=True) == [("/pullzone/z1/purgeCache", "")]


@pytest.mark.parametrize(
    ("edge", "glob", "wanted", "is_wider"),
    [
        (CLOUDFLARE, "/images/*", "images.example/images", False),
        (CLOUDFLARE, "/images/ab*", "images.example/images", True),
        (CLOUDFLARE, "/images/*/thumb.webp", "images.example/images", True),
        (CLOUDFRONT, "/images/ab*", "/images/ab*", False),
        (CLOUDFRONT, "/images/*/thumb.webp", "/images/*", True),
        (BUNNY, "/images/*/thumb.webp", "images.example%2Fimages%2F%2A", True),
    ],
)
def test_a_glob_becomes_what_begins_so_and_it_is_said_if_that_is_wider(
    edge: PurgeEdge, glob: str, wanted: str, is_wider: bool
) -> None:
    ((target, body),) = calls(edge, globs=(glob,))

    assert wanted in target + body
    assert ("nothing narrower" in notes(edge, globs=(glob,))) is is_wider


@pytest.mark.parametrize(
    ("edge", "parts", "said"),
    [
        (FASTLY, {"prefixes": ("/a/", "/b/")}, "2 prefixes not passed on: Fastly has none: purge by tag, or all"),
        (FASTLY, {"globs": ("/a*",)}, "1 glob not passed on"),
        (CLOUDFLARE, {"globs": ("/*/thumb.webp",)}, "there it would be everything"),
        (CLOUDFLARE, {"prefixes": ("/im",)}, "there it would be everything"),
        (CLOUDFRONT, {"paths": (b"s1:/a.webp",)}, "1 key not passed on: a CDN knows URLs alone"),
        (CLOUDFRONT, {"prefixes": ("s1:/a",)}, "it is of keys"),
        (
            CLOUDFLARE,
            {"tags": (b"a b", "ü".encode(), b"a,b")},
            "3 tags not passed on: CDNs know tags of visible ASCII",
        ),
        (PurgeEdge("it", EdgeProvider.BUNNY, "1", (BASE,), has_tags=False), {"tags": (b"x",)}, "tags is false"),
    ],
)
def test_what_a_cdn_cannot_express_is_not_passed_on_and_said(
    edge: PurgeEdge, parts: dict[str, Any], said: str
) -> None:
    assert calls(edge, **parts) == []
    assert said in notes(edge, **parts)


def test_a_soft_purge_is_a_hard_one_where_there_is_none() -> None:
    assert "Cloudflare can't purge softly: objects are removed" in notes(CLOUDFLARE, paths=(b"/a",), soft=True)
    assert "Fastly can't purge everything softly" in notes(FASTLY, everything=True, soft=True)
    assert notes(CLOUDFLARE, paths=(b"/a",)) == ""


@given(st.integers(1, 700), st.integers(0, 600), st.integers(0, 70), st.sampled_from(ALL))
def test_batches_hold_all_that_is_named_once_and_no_more_than_the_api_takes(
    paths: int, tags: int, prefixes: int, edge: PurgeEdge
) -> None:
    parts = {
        "paths": tuple([b"/p%d" % n for n in range(paths)]),
        "tags": tuple([b"t%d" % n for n in range(tags)]),
        "prefixes": tuple([f"/d{n}/" for n in range(prefixes)]),
    }
    made = calls(edge, **parts)

    if edge is CLOUDFLARE:
        said = [json.loads(body) for _, body in made]
        assert all(len(each.get("prefixes", ())) <= 30 and len(next(iter(each.values()))) <= 100 for each in said)
        found = [thing for each in said for things in each.values() for thing in things]
    elif edge is CLOUDFRONT:
        batches = [paths_of(body) for _, body in made]
        assert all(len(batch) <= 300 and sum("*" in each for each in batch) <= 15 for batch in batches)
        assert len({re.findall("<CallerReference>.*?<", body)[0] for _, body in made}) == len(made)
        found = [thing for batch in batches for thing in batch]
    elif edge is FASTLY:
        keys = [json.loads(body)["surrogate_keys"] for _, body in made if body]
        assert all(len(batch) <= 256 for batch in keys)
        found = [*[key for batch in keys for key in batch], *[target for target, body in made if not body]]
        prefixes = 0
    else:
        found = [target + body for target, body in made]
    assert len(found) == len(set(found)) == paths + tags + prefixes


def test_a_call_is_the_same_after_it_was_kept_as_text() -> None:
    for call in plan(order(paths=(b"/a",), tags=(b"x",), soft=True), FASTLY, "job-1-1").calls:
        assert EdgeCall.read(call.plain()) == call


def test_calls_of_several_orders_are_one_up_to_the_limit_of_the_api() -> None:
    made = [call for n in range(150) for call in plan(order(paths=(b"/%d" % n,)), CLOUDFLARE, "it").calls]
    soft = list(plan(order(tags=(b"x",), soft=True), FASTLY, "it").calls)
    hard = list(plan(order(tags=(b"x",)), FASTLY, "it").calls)

    found = merged([*made, *soft, *hard, *soft])

    assert [len(places) for _, places in found] == [100, 50, 2, 1]
    assert sorted(place for _, places in found for place in places) == list(range(153))
    assert [len(json.loads(call.body)["files"]) for call, _ in found[:2]] == [100, 50]
    assert [(call.body, call.is_soft) for call, _ in found[2:]] == [
        ('{"surrogate_keys":["x"]}', True),
        ('{"surrogate_keys":["x"]}', False),
    ]


@pytest.mark.parametrize("edge", [CLOUDFRONT, BUNNY])
def test_calls_that_cannot_be_merged_stay_as_they_are(edge: PurgeEdge) -> None:
    made = list(plan(order(paths=(b"/a", b"/b"), tags=(b"x", b"y")), edge, "it").calls)

    assert merged(made) == [(call, [place]) for place, call in enumerate(made)]


@pytest.mark.parametrize("token", ["", "of-a-session"])
def test_calls_of_cloudfront_are_signed_as_botocore_signs_them(token: str) -> None:
    (call,) = plan(order(paths=(b"/a.webp",)), CLOUDFRONT, "job-1-1").calls
    api = APIS[EdgeProvider.CLOUDFRONT]
    fields = dict(fields_of(CLOUDFRONT, api, EdgeSecrets("", "AKID", "secret", token), call, 1_750_000_000.0))
    signer = SigV4Auth(Credentials("AKID", "secret", token or None), "cloudfront", "us-east-1")
    theirs = AWSRequest("POST", api + call.target, data=call.body.encode(), headers={})
    theirs.context["timestamp"] = fields["x-amz-date"]
    theirs.headers["X-Amz-Date"] = fields["x-amz-date"]
    if token:
        theirs.headers["X-Amz-Security-Token"] = token
    text = signer.string_to_sign(theirs, signer.canonical_request(theirs))

    assert fields["authorization"].endswith("Signature=" + signer.signature(text, theirs))
    assert fields.get("x-amz-security-token", "") == token
    assert "SignedHeaders=host;x-amz-date" in fields["authorization"]


@pytest.mark.parametrize(
    ("status", "body", "problem", "is_hopeless"),
    [
        (200, '{"success": true}', None, False),
        (201, "", None, False),
        (200, '{"success": false, "errors": []}', "it answers 200", False),
        (401, "", "it answers 401", False),
        (404, "", "it answers 404", False),
        (429, "", "it answers 429", False),
        (500, "x\ny", "it answers 500: x y", False),
        (400, "<Code>InvalidArgument</Code>", "it answers 400", True),
        (400, "<Code>TooManyInvalidationsInProgress</Code>", "it answers 400", False),
    ],
)
def test_answers(status: int, body: str, problem: str | None, is_hopeless: bool) -> None:
    found = judge_answer(status, body, "")

    assert (found.problem or "").startswith(problem or "") and (found.problem is None) is (problem is None)
    assert found.is_hopeless is is_hopeless


def test_waits_grow_with_jitter_and_only_what_is_hopeless_is_given_up() -> None:
    busy, hopeless = EdgeAnswer("busy"), EdgeAnswer("no", is_hopeless=True)

    assert [next_wait(n, busy, 0.5) for n in (1, 2, 3, 50)] == [2.0, 4.0, 8.0, 300.0]
    assert next_wait(1, busy, 0.0) == 1.5 and next_wait(1, busy, 1.0) == 2.5
    assert [next_wait(n, hopeless, 0.5) for n in (3, 4)] == [8.0, None]
    assert next_wait(1, judge_answer(429, "", "30"), 0.5) == 30.0
    assert next_wait(1, judge_answer(429, "", "99999"), 0.5) == 3600.0


@pytest.mark.parametrize("edge", ALL)
def test_all_calls_of_a_plan_are_known_as_purges_of_that_cdn_alone(edge: PurgeEdge) -> None:
    narrow = order(paths=(b"/a?b=c", b"/d/"), tags=(b"x",), prefixes=("/images/",))
    made = [call for each in (narrow, order(everything=True)) for call in plan(each, edge, "it").calls]

    assert made and all(is_purge(edge, call) for call in made)
    elsewhere = replace(edge, place="another")
    assert not any(is_purge(elsewhere, call) for call in made if edge.place in call.target)
