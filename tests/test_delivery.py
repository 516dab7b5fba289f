"""The part of a fill's response that a request gets, case by case, without a socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from shield.delivery import Delivery, choose, part_of, stands_in, status_of
from shield.errors import Fault, OriginError
from shield.fill.fill import Fill
from shield.fill.readers import Phase
from shield.messages import Field, Request
from shield.origin.want import Failed
from shield.reply import Replies
from shield.rules.freshness import Freshness
from shield.rules.heads import as_judged, of_fields
from shield.rules.ranges import Span
from shield.rules.routes import Resource, Route, cache_key
from shield.store.entry import Entry
from tests.compiled import INTERPRETED_ONLY

pytestmark = INTERPRETED_ONLY  # a stand-in for a fill

NOW = 1_750_000_000.0
LENGTH = 1_000_000
STRONG, WEAK = (b"etag", b'"1"'), (b"etag", b'W/"1"')
PARTS = (b"accept-ranges", b"bytes")
KEY = cache_key(b"", b"/a", b"")
REPLIES = Replies(node="test-1", via=b"1.1 test-1", retry_after_seconds=1.0)


@dataclass
class Brought:
    """A fill, as far as a choice depends on it."""

    head: object
    stores: bool
    part: Span | None = None
    phase: Phase = Phase.STREAMING
    length: int = LENGTH
    freshness: Freshness | None = None


def chosen(
    wanted: bytes | None,
    *fields: Field,
    stores: bool = True,
    part: Span | None = None,
    in_parts: bool = True,
    is_thrifty: bool = False,
) -> tuple[int, Delivery]:
    fill = Brought(of_fields(200, (*fields, (b"content-length", b"%d" % LENGTH))), stores, part)
    request = Request.of(b"GET", b"/a", () if wanted is None else ((b"range", wanted),))
    selection, delivery = choose(request, cast(Fill, fill), REPLIES, NOW, in_parts=in_parts, is_thrifty=is_thrifty)
    return selection.status, delivery


FAR, NEAR = b"bytes=900000-900009", b"bytes=0-9"


@pytest.mark.parametrize("wanted", [None, NEAR, FAR])
def test_a_body_that_is_kept_serves_everything(wanted: bytes | None) -> None:
    assert chosen(wanted, STRONG, PARTS) == (200 if wanted is None else 206, Delivery.SEND)


@pytest.mark.parametrize(
    ("fields", "options", "expected"),
    [
        ((STRONG, PARTS), {"stores": False}, (206, Delivery.FETCH_PART)),
        ((STRONG, PARTS), {"stores": False, "in_parts": False}, (200, Delivery.SEND)),
        ((WEAK, PARTS), {"stores": False}, (200, Delivery.SEND)),
        ((STRONG,), {"stores": False}, (200, Delivery.SEND)),  # its origin has no ranges
        ((STRONG, PARTS), {"is_thrifty": True}, (200, Delivery.SEND)),  # else nobody takes what comes before it
    ],
)
def test_a_far_part_of_a_body_that_is_not_kept_is_fetched_or_the_whole_sent(
    fields: tuple[Field, ...], options: dict[str, Any], expected: tuple[int, Delivery]
) -> None:
    assert chosen(FAR, *fields, **options) == expected


def test_a_range_that_is_all_of_a_body_that_is_not_kept_is_read_from_it() -> None:
    assert chosen(b"bytes=0-", STRONG, PARTS, stores=False) == (206, Delivery.SEND)
    assert chosen(b"bytes=0-", STRONG, PARTS, is_thrifty=True) == (206, Delivery.SEND)
    assert chosen(b"bytes=1-", STRONG, PARTS, stores=False) == (206, Delivery.FETCH_PART)


def test_a_near_part_is_read_from_the_beginning_of_a_body_that_is_not_kept() -> None:
    assert chosen(NEAR, WEAK, stores=False) == (206, Delivery.SEND)


@pytest.mark.parametrize(
    ("wanted", "tag", "in_parts", "delivery"),
    [
        (NEAR, STRONG, True, Delivery.SEND),
        (FAR, STRONG, True, Delivery.FETCH_PART),
        (FAR, STRONG, False, Delivery.FETCH_WHOLE),
        (FAR, WEAK, True, Delivery.FETCH_WHOLE),
        (b"bytes=0-9, 900000-900009", STRONG, True, Delivery.FETCH_WHOLE),
        (None, STRONG, True, Delivery.FETCH_WHOLE),
    ],
)
def test_a_fill_of_a_part_serves_just_that(
    wanted: bytes | None, tag: Field, in_parts: bool, delivery: Delivery
) -> None:
    assert chosen(wanted, tag, PARTS, stores=False, part=Span(0, 100), in_parts=in_parts)[1] is delivery


def test_the_rest_of_a_version_is_fetched_by_its_tag() -> None:
    want = part_of(Resource(KEY, b"/a", b"q", Route("all")), Span(3, 9), b'"1"', "fra")

    assert (want.path, want.query, want.span, want.etag, want.version_of) == (b"/a", b"q", Span(3, 9), b'"1"', "fra")
    assert not want.tentative


def entry(*, age: float, grace: float = 0.0, error_grace: float = 60.0, lifetime: float = 10.0) -> Entry:
    freshness = Freshness(NOW - age, lifetime, grace, 60.0, error_grace)
    return Entry(KEY, as_judged(of_fields(200, ()), freshness), freshness, (b"x",))


LATE = Failed((OriginError("fra", Fault.FIRST_BYTE_TIMEOUT, "late"),))
DOWN = Failed((OriginError("fra", Fault.SERVER, "500"),))
DENIED = Failed((OriginError("fra", Fault.FORBIDDEN, "403"),))


@pytest.mark.parametrize(
    ("stored", "failure", "may"),
    [
        (entry(age=20.0), DOWN, True),
        (entry(age=20.0), LATE, True),
        (entry(age=200.0), DOWN, False),
        (entry(age=20.0), DENIED, False),  # the object itself was refused
        (entry(age=20.0, error_grace=0.0, lifetime=0.0), DOWN, False),  # no-cache
    ],
)
def test_a_stale_entry_stands_in_within_its_error_grace(stored: Entry, failure: Failed, may: bool) -> None:
    assert stands_in(stored, failure, NOW) is may


@pytest.mark.parametrize(
    ("failure", "stored", "status"),
    [
        (DOWN, None, 503),
        (LATE, None, 504),
        (DOWN, entry(age=20.0), 503),
        (DOWN, entry(age=20.0, error_grace=0.0), 504),  # must-revalidate
    ],
)
def test_an_error_says_whether_it_came_too_late(failure: Failed, stored: Entry | None, status: int) -> None:
    assert status_of(failure, stored) == status
