"""What is settled when an answer's head has come, case by case."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shield.fill.settlement import FillTerms, HitForMiss, Question, Settlement, Step, settle, settle_ordinary
from shield.messages import Field, Request, ResponseHead
from shield.origin.response import Response
from shield.origin.want import Fetched, Want
from shield.rules.dates import imf_fixdate
from shield.rules.freshness import Freshness, FreshnessRules
from shield.rules.heads import as_judged, of_fields
from shield.rules.ranges import Span
from shield.rules.routes import Resource, Route, cache_key
from shield.rules.vary import Forwarding
from shield.rules.verdict import Reason
from shield.store.entry import OVERHEAD, Entry
from tests.fill.ground import VIA, FakeConnection

NOW = 1_750_000_000.0
SLICE = 1000
TERMS = FillTerms(VIA, slice_bytes=0, largest=1 << 20, sliced_above=1 << 30)
IN_SLICES = replace(TERMS, slice_bytes=SLICE, sliced_above=SLICE)
TAG = (b"etag", b'"1"')
RANGES = (b"accept-ranges", b"bytes")
LARGE = 3 * SLICE
FORWARDING = Route("default", origins=("fra",), forwarding=Forwarding(frozenset({b"foo", b"bar"})))
PLAIN = Route("default", origins=("fra",))
KEY = cache_key(b"", b"/a", b"")


def cc(value: bytes) -> Field:
    return (b"cache-control", value)


def entry(*fields: Field, age: float = 0.0, grace: float = 0.0, error_grace: float = 0.0) -> Entry:
    """Five bytes that are good for ten seconds."""
    freshness = Freshness(NOW - age, 10.0, grace, 60.0, error_grace)
    return Entry(
        KEY, as_judged(of_fields(200, (*fields, (b"content-length", b"5"))), freshness), freshness, (b"12345",)
    )


def both(*fields: Field, status: int = 200, length: int | None = 5, **options: Any) -> tuple[Any, Any]:
    """The settlement by the short cut, and the one by all rules."""
    return (
        settled(*fields, status=status, length=length, quick=True, **options),
        settled(*fields, status=status, length=length, **options),
    )


def settled(
    *fields: Field,
    status: int = 200,
    length: int | None = 5,
    method: bytes = b"GET",
    stored: Entry | None = None,
    route: Route = PLAIN,
    terms: FillTerms = TERMS,
    known: tuple[bytes, ...] = (),
    asking: Sequence[Field] = (),
    want: dict[str, Any] | None = None,
    quick: bool = False,
    by_peer: bool = False,
    **question: Any,
) -> Settlement:
    async def run() -> Settlement:
        response = Response(FakeConnection(), 0)
        response.arrive(ResponseHead(status, fields, length))
        asked = Question(
            Resource(KEY, b"/a", b"", route),
            Request.of(method, b"/a", asking),
            Want(method, b"/a", **(want or {})),
            stored,
            **{"shared": True, **question},
        )
        fetched = Fetched("fra", response, NOW, NOW, by_peer=by_peer)
        if quick:
            return settle_ordinary(asked, fetched, terms)  # type: ignore[return-value]
        return settle(asked, fetched, terms, known=known)

    return asyncio.run(run())


# the whole object


@pytest.mark.parametrize(
    ("fields", "length", "step", "hit_for_miss"),
    [
        ((cc(b"max-age=60"),), 5, Step.STORE, HitForMiss.FORGET),
        ((cc(b"max-age=60"),), None, Step.STORE, HitForMiss.FORGET),
        ((cc(b"max-age=60"),), 1 << 20, Step.SHARE, HitForMiss.FORGET),  # larger than what is kept
        ((cc(b"max-age=0"),), 5, Step.SHARE, HitForMiss.FORGET),
        ((cc(b"no-store"),), 5, Step.LEADER_ONLY, HitForMiss.MARK),
        ((cc(b"private"),), 5, Step.LEADER_ONLY, HitForMiss.MARK),
        (((b"set-cookie", b"a=b"),), 5, Step.LEADER_ONLY, HitForMiss.MARK),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_what_may_be_stored_is_and_what_may_be_shared_is_shared(
    fields: tuple[Field, ...], length: int | None, step: Step, hit_for_miss: HitForMiss, shared: bool
) -> None:
    found = settled(*fields, length=length, shared=shared)

    assert (found.step, found.hit_for_miss, found.drops) == (step, hit_for_miss, True)
    if step is Step.STORE:
        assert found.keeps_bytes == OVERHEAD + (length or 0)
    assert found.head is not None and (b"via", VIA) in found.head.fields


def test_what_only_the_request_forbids_says_nothing_of_what_others_get() -> None:
    route = replace(PLAIN, freshness=FreshnessRules(honour_request_directives=frozenset({"no-store"})))

    found = settled(cc(b"max-age=60"), route=route, asking=[cc(b"no-store")])

    assert (found.step, found.hit_for_miss, found.drops) == (Step.LEADER_ONLY, HitForMiss.LEAVE, False)


@pytest.mark.parametrize("fields", [(cc(b"max-age=60"),), (cc(b"no-store"),)])
def test_a_head_alone_is_not_kept_and_says_nothing_of_what_can_be_shared(fields: tuple[Field, ...]) -> None:
    found = settled(*fields, method=b"HEAD")

    assert found.step in (Step.SHARE, Step.LEADER_ONLY)
    assert (found.hit_for_miss, found.drops) == (HitForMiss.LEAVE, False)


# what is stored already


@pytest.mark.parametrize(
    ("fields", "step", "drops"),
    [
        ((TAG, cc(b"max-age=60")), Step.FRESHEN, False),
        ((TAG, cc(b"no-store")), Step.CONFIRM, True),
        ((TAG, cc(b"private")), Step.CONFIRM, True),
        (((b"etag", b'"2"'),), Step.ASK_WHOLE, True),
    ],
)
def test_a_304_is_for_what_is_stored_or_for_something_else(
    fields: tuple[Field, ...], step: Step, drops: bool
) -> None:
    found = settled(*fields, status=304, length=0, stored=entry(TAG, age=20))

    assert (found.step, found.drops) == (step, drops)
    assert (found.entry is None) == (step is Step.ASK_WHOLE)


@pytest.mark.parametrize("shared", [True, False])
def test_a_304_that_says_by_what_else_it_varies_is_stored_under_no_key(shared: bool) -> None:
    stored = entry(TAG, age=20)

    found = settled(TAG, (b"vary", b"foo"), status=304, length=0, stored=stored, route=FORWARDING, shared=shared)

    assert (found.step, found.drops, found.of_equals) == (Step.CONFIRM, True, True)


@pytest.mark.parametrize(
    ("status", "error_grace", "step"),
    [(500, 60.0, Step.KEEP), (503, 60.0, Step.KEEP), (503, 5.0, Step.SHARE), (403, 60.0, Step.SHARE)],
)
def test_an_origins_trouble_leaves_what_was_good_a_while_ago(status: int, error_grace: float, step: Step) -> None:
    found = settled(status=status, stored=entry(TAG, age=30, error_grace=error_grace))

    assert found.step is step


@pytest.mark.parametrize(
    ("fields", "step", "drops"),
    [
        ((TAG,), Step.FRESHEN, False),
        (((b"etag", b'"2"'),), Step.SHARE, True),
        (((b"x-a", b"1"),), Step.SHARE, False),  # it doesn't say
    ],
)
def test_a_head_says_whether_what_is_stored_is_still_it(fields: tuple[Field, ...], step: Step, drops: bool) -> None:
    found = settled(*fields, cc(b"max-age=60"), method=b"HEAD", stored=entry(TAG, age=20))

    assert (found.step, found.drops) == (step, drops)


# slices


def test_what_is_large_and_named_by_a_strong_tag_goes_into_slices() -> None:
    found = settled(TAG, RANGES, cc(b"max-age=60"), length=LARGE, terms=IN_SLICES)

    assert (found.step, found.span, found.is_part) == (Step.SLICE, Span(0, LARGE), False)


@pytest.mark.parametrize(
    ("fields", "length", "more"),
    [
        ((TAG, RANGES), SLICE, {}),
        (((b"etag", b'W/"1"'), RANGES), LARGE, {}),
        ((TAG,), LARGE, {}),
        ((TAG, RANGES), None, {}),
        ((TAG, RANGES), LARGE, {"in_slices": False}),
        ((TAG, RANGES), LARGE, {"terms": TERMS}),
    ],
)
def test_all_else_does_not(fields: tuple[Field, ...], length: int | None, more: dict[str, Any]) -> None:
    found = settled(*fields, cc(b"max-age=60"), length=length, **{"terms": IN_SLICES, **more})

    assert found.step is Step.STORE


@pytest.mark.parametrize(
    ("fields", "stated", "step", "span"),
    [
        ((TAG, cc(b"max-age=60")), b"bytes 1000-1999/3000", Step.SLICE, Span(1000, 2000)),
        ((TAG, cc(b"max-age=60")), b"bytes 0-499/500", Step.STORE, None),  # all of it
        ((TAG, cc(b"no-store")), b"bytes 1000-1999/3000", Step.ASK_WHOLE, None),
        ((cc(b"max-age=60"),), b"bytes 1000-1999/3000", Step.ASK_WHOLE, None),
    ],
)
def test_a_part_of_what_nobody_knew_begins_slices_or_is_of_no_use(
    fields: tuple[Field, ...], stated: bytes, step: Step, span: Span | None
) -> None:
    want = {"span": Span(1000, 2000), "tentative": True}

    found = settled(*fields, (b"content-range", stated), status=206, length=1000, terms=IN_SLICES, want=want)

    assert (found.step, found.span) == (step, span)
    assert found.head is None or found.head.status == 200


def test_the_rest_of_a_version_is_for_the_one_who_lacks_it_and_changes_nothing_else() -> None:
    want = {"span": Span(2, 5), "etag": b'"1"'}

    found = settled(TAG, (b"content-range", b"bytes 2-4/5"), cc(b"max-age=60"), status=206, length=3, want=want)

    assert (found.step, found.hit_for_miss, found.drops) == (Step.LEADER_ONLY, HitForMiss.LEAVE, False)
    assert found.disposition is not None and found.disposition.reason is Reason.PARTIAL


# variants


@pytest.mark.parametrize(
    ("vary", "known", "learns"),
    [
        (b"Foo", (), (b"foo",)),
        (b"Foo", (b"foo",), ()),
        (b"Foo, Bar", (b"foo",), (b"bar", b"foo")),
        (b"", (b"foo",), ()),
        (b"Other", (), ()),  # no origin saw it
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_what_an_answer_varies_by_is_learned_once_whether_or_not_it_is_shared(
    vary: bytes, known: tuple[bytes, ...], learns: tuple[bytes, ...], shared: bool
) -> None:
    found = settled(cc(b"max-age=60"), (b"vary", vary), route=FORWARDING, known=known, shared=shared)

    assert (found.step, found.sorts, found.learns, found.of_equals) == (Step.STORE, True, learns, False)
    assert found.kept_until == NOW + 60.0 + FORWARDING.freshness.grace


@pytest.mark.parametrize("control", [b"max-age=0", b"no-store", b"private"])
def test_what_cannot_be_reused_is_for_equal_requests_and_teaches_nothing(control: bytes) -> None:
    found = settled(cc(control), (b"vary", b"foo"), route=FORWARDING)

    assert (found.of_equals, found.sorts, found.learns) == (True, False, ())


def test_what_is_validated_each_time_is_sorted_and_for_equal_requests() -> None:
    found = settled(cc(b"no-cache"), TAG, (b"vary", b"foo"), route=FORWARDING)

    assert (found.step, found.sorts, found.of_equals) == (Step.STORE, True, True)


def test_a_route_that_forwards_nothing_knows_no_variants() -> None:
    found = settled(cc(b"max-age=60"), (b"vary", b"foo"))

    assert (found.sorts, found.learns, found.of_equals) == (False, (), False)


# ordinary answers

DATE = (b"date", imf_fixdate(NOW))


@pytest.mark.parametrize("more", [(), (RANGES, cc(b"public, max-age=60")), ((b"x-a", b"1"),)])
def test_an_ordinary_answer_is_settled_as_by_all_rules(more: tuple[Field, ...]) -> None:
    quick, full = both(TAG, DATE, *more)

    assert quick is not None
    assert quick == full


@pytest.mark.parametrize(
    "options",
    [
        {"status": 404},
        {"length": None},
        {"length": 1 << 20},
        {"length": LARGE, "terms": IN_SLICES},
        {"asking": [(b"range", b"bytes=0-1")]},
        {"asking": [(b"authorization", b"a")]},
        {"method": b"HEAD"},
        {"stored": entry(TAG)},
        {"want": {"span": Span(0, 2)}},
        {"route": FORWARDING},
        {"by_peer": True},
        {"in_parts": False},
    ],
)
def test_what_is_not_ordinary_is_left_to_all_rules(options: dict[str, Any]) -> None:
    assert settled(TAG, DATE, cc(b"max-age=60"), **{"length": 5, **options}, quick=True) is None
