"""Our two decisions compared with hishel's state machine of RFC 9111, an independent reading of the same text.

Where they differ, and why:

- Ours doesn't store what no later request could be answered with: no lifetime, no validator, no grace.
- must-understand with no-store is read as §5.2.2.3 has it; hishel knows no must-understand.
- `Vary: *` is not stored; hishel stores it, and never finds it again.
- Errors of one client or one moment (401, 429, 5xx and their like) aren't stored, though they say they might be.
- Other errors that state no lifetime have the operator's; hishel goes by Last-Modified.
- A lifetime by Last-Modified is a share of the time from then to Date, which stands still; hishel counts to now.
- hishel takes no notice of Age, and a Date in the future makes its responses younger than they are.

In none of these is ours the bolder one, but for the first of errors and must-understand, which are excepted below.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from unittest import mock

import hishel
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.messages import Field, Request, ResponseHead
from shield.rules.dates import imf_fixdate
from shield.rules.freshness import Freshness, FreshnessRules
from shield.rules.heads import StoredHead, of_fields
from shield.rules.verdict import Disposition, Share, Verdict, judge_lookup, judge_response
from tests.depth import tries

T = 1_750_000_000.0
URL = "http://cdn.example/a"
AGES = 100  # seconds; few, so that what is compared often is equal

PLAIN = FreshnessRules(
    default_lifetime=None,
    heuristic_fraction=0.1,
    max_lifetime=2.0**31,
    negative_lifetime=2.0**31,
    grace=0.0,
    error_grace=0.0,
    honour_request_directives=frozenset({"no-cache"}),
    honour_field_names=True,
    set_cookie="store",
    targeted=(),
)
"""The RFC alone, as far as both can be brought to that."""


@dataclass
class Stored:
    """An entry as `judge_lookup` sees it: its freshness says all that its directives said."""

    freshness: Freshness
    head: StoredHead = field(default_factory=lambda: of_fields(200, ()))
    no_cache: bool = False
    must_revalidate: bool = False
    etag: bytes | None = b'"x"'
    last_modified: float | None = None

    def __post_init__(self) -> None:
        self.head.no_cache, self.head.must_revalidate = self.no_cache, self.must_revalidate
        self.head.etag, self.head.last_modified = self.etag, self.last_modified


DIRECTIVES = st.lists(
    st.sampled_from(["max-age", "s-maxage"]).flatmap(
        lambda name: st.integers(0, 2 * AGES).map(lambda seconds: f"{name}={seconds}")
    )
    | st.sampled_from(
        [
            *("no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate", "immutable", "x=y"),
            *('no-cache="x-a"', 'private="x-a, x-b"'),
        ]
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda directive: directive.partition("=")[0],
)


def before(seconds: int) -> str:
    return imf_fixdate(T - seconds).decode()


@st.composite
def responses(draw: st.DrawFn) -> dict[str, str]:
    """Well-formed fields of a response that comes at T: where they aren't, caches may read what they like."""
    fields = {"date": before(draw(st.integers(0, AGES)))}
    if draw(st.booleans()):
        fields["cache-control"] = ", ".join(draw(DIRECTIVES))
    if draw(st.booleans()):
        fields["expires"] = draw(st.integers(-AGES, AGES).map(before) | st.just("0"))
    if draw(st.booleans()):
        fields["last-modified"] = before(draw(st.integers(3 * AGES, 9 * AGES)))
    if draw(st.booleans()):
        fields["etag"] = '"x"'
    return fields


STATUSES = st.sampled_from([200, 200, 200, 203, 204, 206, 299, 300, 301, 302, 304, 307, 308, 400, 404, 405, 410, 501])
REQUESTS = st.sampled_from([{}, {"authorization": "Basic eA=="}, {"cache-control": "no-cache"}])
OPTIONS = hishel.CacheOptions(shared=True, supported_methods=["GET", "HEAD"], allow_stale=False)


def ours(request: dict[str, str], status: int, response: dict[str, str]) -> Disposition:
    head = ResponseHead(status, encoded(response), None)
    return judge_response(
        Request.of(b"GET", b"/a", encoded(request)), head, request_time=T, response_time=T, rules=PLAIN
    )


def theirs(request: dict[str, str], status: int, response: dict[str, str]) -> hishel.AnyState:
    miss = hishel.CacheMiss(request=their_request(request), options=OPTIONS)
    return miss.next(hishel.Response(status, hishel.Headers(dict(response))))


def their_request(fields: dict[str, str]) -> hishel.Request:
    return hishel.Request("GET", URL, hishel.Headers(dict(fields)))


def encoded(fields: dict[str, str]) -> tuple[Field, ...]:
    return tuple((name.encode(), value.encode()) for name, value in fields.items())


@settings(max_examples=tries(200))
@given(REQUESTS, STATUSES, responses())
def test_what_is_stored_is_what_may_be_stored(request: dict[str, str], status: int, response: dict[str, str]) -> None:
    disposition, state = ours(request, status, response), theirs(request, status, response)

    may_be_stored = isinstance(state, hishel.StoreAndUse)
    assert may_be_stored or disposition.share is not Share.STORE
    if may_be_stored and disposition.share is not Share.STORE:
        assert disposition.reason.value == "no-lifetime"  # the only thing that we leave


@settings(max_examples=tries(200))
@given(REQUESTS, STATUSES, responses(), st.integers(0, 2 * AGES))
def test_what_is_served_is_what_is_fresh(
    request: dict[str, str], status: int, response: dict[str, str], elapsed: int
) -> None:
    disposition = ours({}, status, response)
    if disposition.share is not Share.STORE:
        return
    assert disposition.freshness is not None
    entry = hishel.Entry(uuid.uuid4(), their_request({}), hishel.Response(status, hishel.Headers(dict(response))))
    now = T + elapsed

    verdict = judge_lookup(Request.of(b"GET", b"/a", encoded(request)), Stored(disposition.freshness), now, PLAIN)
    with mock.patch("time.time", return_value=now):
        state = hishel.IdleClient(options=OPTIONS).next(their_request(request), [entry])

    is_stated = "expires" in response or "max-age" in response.get("cache-control", "")
    if is_stated:
        assert (verdict is Verdict.HIT) == isinstance(state, hishel.FromCache)
    elif status < 400:
        assert verdict is not Verdict.HIT or isinstance(state, hishel.FromCache)
