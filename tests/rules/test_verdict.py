"""The two questions of a cache, RFC 9111 §3 and §4."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from shield.messages import Field, Request, ResponseHead
from shield.rules.dates import imf_fixdate
from shield.rules.freshness import Freshness, FreshnessRules
from shield.rules.verdict import Disposition, Share, Verdict, judge_lookup, judge_response

T = 1_700_000_000.0
RULES = FreshnessRules(default_lifetime=100.0, negative_lifetime=10.0, grace=30.0, keep=1000.0)
HONOURING = replace(RULES, honour_request_directives=True)
GET = Request.of(b"GET", b"/a")


@dataclass
class Known:
    freshness: Freshness
    no_cache: bool = False
    must_revalidate: bool = False
    etag: bytes | None = b'"x"'
    last_modified: float | None = None


def fresh_for(lifetime: float, grace: float = 0.0) -> Freshness:
    return Freshness(born=T, lifetime=lifetime, grace=grace, keep=1000.0)


def asking(control: bytes, name: bytes = b"cache-control") -> Request:
    return Request.of(b"GET", b"/a", [(name, control)])


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    ("stored", "now", "verdict"),
    [
        (None, T, Verdict.MISS),
        (Known(fresh_for(60)), T + 59, Verdict.HIT),
        (Known(fresh_for(60)), T + 60, Verdict.REVALIDATE),  # §4.2: fresh while its lifetime exceeds its age
        (Known(fresh_for(60, grace=10)), T + 69, Verdict.STALE),
        (Known(fresh_for(60, grace=10)), T + 70, Verdict.REVALIDATE),
        (Known(fresh_for(60, grace=10), must_revalidate=True), T + 59, Verdict.HIT),
        (Known(fresh_for(60, grace=10), must_revalidate=True), T + 61, Verdict.REVALIDATE),  # §5.2.2.2
        (Known(fresh_for(60, grace=10), no_cache=True), T, Verdict.REVALIDATE),  # §5.2.2.4
        (Known(fresh_for(60), etag=None), T + 61, Verdict.MISS),  # nothing to ask about
        (Known(fresh_for(60), etag=None, last_modified=T), T + 61, Verdict.REVALIDATE),
        (Known(fresh_for(60)), T - 86400, Verdict.HIT),  # the clock was set back
    ],
)
def test_what_is_stored_is_judged(method: bytes, stored: Known | None, now: float, verdict: Verdict) -> None:
    assert judge_lookup(Request.of(method, b"/a"), stored, now, RULES) is verdict


def test_other_methods_bypass_what_is_stored() -> None:
    assert judge_lookup(Request.of(b"POST", b"/a"), Known(fresh_for(60)), T, RULES) is Verdict.BYPASS


@pytest.mark.parametrize("control", [b"no-cache", b"no-store", b"max-age=0", b"min-fresh=90"])
def test_clients_do_not_drive_origins_by_default(control: bytes) -> None:
    assert judge_lookup(asking(control), Known(fresh_for(60)), T + 1, RULES) is Verdict.HIT
    assert judge_lookup(asking(b"no-cache", b"pragma"), Known(fresh_for(60)), T + 1, RULES) is Verdict.HIT


@pytest.mark.parametrize(
    ("request_", "age", "verdict"),
    [
        (asking(b"no-store"), 1, Verdict.BYPASS),  # §5.2.1.5
        (asking(b"no-cache"), 1, Verdict.REVALIDATE),  # §5.2.1.4
        (asking(b"no-cache", b"pragma"), 1, Verdict.REVALIDATE),  # §5.4
        (asking(b"max-age=5"), 5, Verdict.HIT),  # §5.2.1.1
        (asking(b"max-age=5"), 6, Verdict.REVALIDATE),
        (asking(b"min-fresh=20"), 40, Verdict.HIT),  # §5.2.1.3
        (asking(b"min-fresh=20"), 41, Verdict.REVALIDATE),
        (asking(b"max-stale=5"), 65, Verdict.STALE),  # §5.2.1.2
        (asking(b"max-stale=5"), 66, Verdict.REVALIDATE),
        (asking(b"max-stale"), 69, Verdict.STALE),
        (asking(b"max-stale"), 71, Verdict.REVALIDATE),  # not beyond our own grace
        (asking(b"x=y"), 1, Verdict.HIT),
    ],
)
def test_clients_are_heard_where_the_rules_say_so(request_: Request, age: float, verdict: Verdict) -> None:
    assert judge_lookup(request_, Known(fresh_for(60, grace=10)), T + age, HONOURING) is verdict


def judged(*fields: Field, status: int = 200, request: Request = GET, rules: FreshnessRules = RULES) -> Disposition:
    return judge_response(request, ResponseHead(status, fields, 10), request_time=T, response_time=T, rules=rules)


def cc(value: bytes) -> Field:
    return (b"cache-control", value)


ETAG = (b"etag", b'"x"')


@pytest.mark.parametrize(
    ("status", "fields", "share", "reason"),
    [
        (200, [], Share.STORE, "implicit"),
        (200, [cc(b"max-age=60")], Share.STORE, "explicit"),
        (200, [cc(b"no-store, max-age=60")], Share.LEADER_ONLY, "no-store"),  # §5.2.2.5
        (200, [cc(b"no-store, must-understand, max-age=60")], Share.STORE, "explicit"),  # §5.2.2.3
        (299, [cc(b"no-store, must-understand, max-age=60")], Share.LEADER_ONLY, "no-store"),
        (200, [cc(b"private, max-age=60")], Share.LEADER_ONLY, "private"),  # §5.2.2.7
        (200, [cc(b'private="set-cookie"')], Share.LEADER_ONLY, "private"),
        (200, [(b"vary", b"*")], Share.LEADER_ONLY, "vary-star"),  # §4.1
        (200, [(b"vary", b"accept"), (b"vary", b"origin, *")], Share.LEADER_ONLY, "vary-star"),
        (200, [(b"vary", b"accept, origin")], Share.STORE, "implicit"),
        (200, [(b"set-cookie", b"a=b")], Share.LEADER_ONLY, "set-cookie"),
        (206, [(b"content-range", b"bytes 0-9/10")], Share.LEADER_ONLY, "partial"),  # §3.3
        (304, [ETAG], Share.LEADER_ONLY, "partial"),
        (416, [], Share.LEADER_ONLY, "partial"),
        (200, [cc(b"max-age=0")], Share.SHARE, "no-lifetime"),
        (200, [cc(b"max-age=0"), ETAG], Share.STORE, "explicit"),  # to be revalidated
        (200, [cc(b"max-age=0, stale-while-revalidate=9")], Share.STORE, "explicit"),
        (200, [cc(b"no-cache, max-age=60")], Share.SHARE, "no-lifetime"),
        (200, [cc(b"no-cache"), ETAG], Share.STORE, "implicit"),
        (200, [cc(b"max-age=60"), (b"age", b"61")], Share.STORE, "explicit"),  # stale, in grace
        (200, [cc(b"max-age=60, must-revalidate"), (b"age", b"61")], Share.SHARE, "no-lifetime"),
        (200, [(b"expires", b"0")], Share.SHARE, "no-lifetime"),
        (404, [], Share.STORE, "negative"),
        (410, [], Share.STORE, "negative"),
        (404, [cc(b"max-age=0")], Share.SHARE, "no-lifetime"),
        (404, [cc(b"no-store")], Share.LEADER_ONLY, "no-store"),
        (301, [], Share.SHARE, "status"),
        (301, [cc(b"max-age=60")], Share.STORE, "explicit"),
        (204, [(b"expires", imf_fixdate(T + 9))], Share.STORE, "explicit"),
        (302, [cc(b"max-age=60")], Share.SHARE, "status"),
        (403, [], Share.SHARE, "status"),
        (429, [cc(b"max-age=60")], Share.SHARE, "status"),
        (500, [], Share.SHARE, "status"),
        (503, [cc(b"max-age=60")], Share.SHARE, "status"),
        (503, [cc(b"private")], Share.LEADER_ONLY, "private"),
    ],
)
def test_an_origins_answer_is_judged(status: int, fields: list[Field], share: Share, reason: str) -> None:
    disposition = judged(*fields, status=status)

    assert (disposition.share, disposition.reason) == (share, reason)
    assert (disposition.freshness is not None) == (share is Share.STORE)


@pytest.mark.parametrize(
    ("control", "share"),
    [
        (b"max-age=60", Share.LEADER_ONLY),
        (b"max-age=60, public", Share.STORE),
        (b"s-maxage=60", Share.STORE),
        (b"max-age=60, must-revalidate", Share.STORE),
    ],
)
def test_answers_to_authorized_requests_are_stored_only_where_they_say_so(control: bytes, share: Share) -> None:
    request = Request.of(b"GET", b"/a", [(b"authorization", b"Basic eA==")])

    assert judged(cc(control), request=request).share is share  # §3.5


def test_cookies_may_be_left_out_by_rule() -> None:
    assert judged((b"set-cookie", b"a=b"), rules=replace(RULES, strip_set_cookie=True)).share is Share.STORE


def test_a_requests_no_store_counts_where_the_rules_honour_it() -> None:
    assert judged(request=asking(b"no-store")).share is Share.STORE
    assert judged(request=asking(b"no-store"), rules=HONOURING).share is Share.LEADER_ONLY


def test_answers_to_other_methods_are_not_shared() -> None:
    assert judged(request=Request.of(b"POST", b"/a")).reason == "method"


def test_nothing_useless_is_stored_for_its_validator_where_nothing_is_kept() -> None:
    rules = replace(RULES, keep=0.0, error_grace=0.0)

    assert judged(cc(b"max-age=0"), ETAG, rules=rules).share is Share.SHARE
