"""The two decisions of a cache, RFC 9111 §3 and §4."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field, Request, ResponseHead
from shield.rules.freshness import Freshness, FreshnessRules, SetCookie
from shield.rules.heads import StoredHead, of_fields
from shield.rules.verdict import Disposition, Reason, Share, Verdict, judge_lookup, judge_response

T = 1_700_000_000.0
RULES = FreshnessRules(default_lifetime=100.0, negative_lifetime=10.0, grace=30.0, keep=1000.0)
DIRECTIVES = frozenset({"no-cache", "no-store", "max-age", "max-stale", "min-fresh", "only-if-cached", "pragma"})
HONOURING = replace(RULES, honour_request_directives=DIRECTIVES)
GET = Request.of(b"GET", b"/a")


@dataclass
class Known:
    freshness: Freshness
    no_cache: bool = False
    must_revalidate: bool = False
    etag: bytes | None = b'"x"'
    last_modified: float | None = None
    head: StoredHead = field(default_factory=lambda: of_fields(200, ()))

    def __post_init__(self) -> None:
        self.head.no_cache, self.head.must_revalidate = self.no_cache, self.must_revalidate
        self.head.etag, self.head.last_modified = self.etag, self.last_modified


def fresh_for(lifetime: float, grace: float = 0.0, error_grace: float = 0.0) -> Freshness:
    return Freshness(born=T, lifetime=lifetime, grace=grace, keep=1000.0, error_grace=error_grace)


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
        (asking(b"max-age=99"), 65, Verdict.REVALIDATE),  # then nothing stale either
        (asking(b"max-age=99, max-stale"), 65, Verdict.STALE),
        (asking(b"max-age=x"), 1, Verdict.REVALIDATE),
        (asking(b"min-fresh=20"), 40, Verdict.HIT),  # §5.2.1.3
        (asking(b"min-fresh=20"), 41, Verdict.REVALIDATE),
        (asking(b"min-fresh=x"), 1, Verdict.REVALIDATE),
        (asking(b"max-stale=5"), 65, Verdict.STALE),  # §5.2.1.2
        (asking(b"max-stale=5"), 66, Verdict.REVALIDATE),
        (asking(b"max-stale=35"), 95, Verdict.STALE),  # beyond the grace for all
        (asking(b"max-stale=35"), 96, Verdict.REVALIDATE),
        (asking(b"max-stale"), 109, Verdict.STALE),
        (asking(b"max-stale"), 110, Verdict.REVALIDATE),  # not beyond what anyone is served stale
        (asking(b"only-if-cached"), 1, Verdict.HIT),  # §5.2.1.7
        (asking(b"only-if-cached"), 65, Verdict.STALE),
        (asking(b"only-if-cached"), 71, Verdict.REFUSE),
        (asking(b"only-if-cached, max-stale=20"), 71, Verdict.STALE),
        (asking(b"only-if-cached, no-cache"), 1, Verdict.REFUSE),
        (asking(b'no-cache="x"'), 1, Verdict.REVALIDATE),  # there is no such form
        (asking(b"x=y"), 1, Verdict.HIT),
        (asking(b"x=y", b"pragma"), 1, Verdict.HIT),
    ],
)
def test_clients_are_heard_where_the_rules_say_so(request_: Request, age: float, verdict: Verdict) -> None:
    stored = Known(fresh_for(60, grace=10, error_grace=50))

    assert judge_lookup(request_, stored, T + age, HONOURING) is verdict


@pytest.mark.parametrize(
    ("request_", "word", "heard"),
    [
        (asking(b"no-store"), "no-store", Verdict.BYPASS),
        (asking(b"no-cache"), "no-cache", Verdict.REVALIDATE),
        (asking(b"no-cache", b"pragma"), "pragma", Verdict.REVALIDATE),
        (asking(b"max-age=0"), "max-age", Verdict.REVALIDATE),
        (asking(b"min-fresh=99"), "min-fresh", Verdict.REVALIDATE),
    ],
)
def test_each_directive_is_heeded_or_not_for_itself(request_: Request, word: str, heard: Verdict) -> None:
    for words, verdict in ((frozenset({word}), heard), (DIRECTIVES - {word}, Verdict.HIT)):
        rules = replace(RULES, honour_request_directives=words)

        assert judge_lookup(request_, Known(fresh_for(60)), T + 1, rules) is verdict


@pytest.mark.parametrize(
    ("stored", "otherwise"), [(Known(fresh_for(60)), Verdict.HIT), (Known(fresh_for(10, grace=60)), Verdict.STALE)]
)
def test_what_was_confirmed_before_a_doubt_is_revalidated_unless_nobody_can_be_asked(
    stored: Known, otherwise: Verdict
) -> None:
    asked = asking(b"x=y")

    assert judge_lookup(asked, stored, T + 20, RULES, doubted_before=T + 1) is Verdict.REVALIDATE
    assert judge_lookup(asked, stored, T + 20, RULES, doubted_before=T) is otherwise
    assert judge_lookup(asked, stored, T + 20, RULES, doubted_before=T + 1, is_cut_off=True) is otherwise


def test_max_stale_and_only_if_cached_count_only_where_they_are_heeded() -> None:
    stale, now = Known(fresh_for(60, error_grace=50)), T + 65
    rules = replace(RULES, honour_request_directives=DIRECTIVES - {"max-stale", "only-if-cached"})

    assert judge_lookup(asking(b"max-stale"), stale, now, rules) is Verdict.REVALIDATE
    assert judge_lookup(asking(b"only-if-cached"), stale, now, rules) is Verdict.REVALIDATE


@pytest.mark.parametrize("stored", [None, Known(fresh_for(60), no_cache=True), Known(fresh_for(60), etag=None)])
def test_who_wants_only_what_is_stored_gets_nothing_else(stored: Known | None) -> None:
    assert judge_lookup(asking(b"only-if-cached"), stored, T + 61, HONOURING) is Verdict.REFUSE


def test_max_stale_does_not_lift_what_the_origin_prohibits() -> None:
    stored = Known(fresh_for(60, grace=10, error_grace=50), must_revalidate=True)

    assert judge_lookup(asking(b"max-stale"), stored, T + 61, HONOURING) is Verdict.REVALIDATE  # §5.2.2.2


@pytest.mark.parametrize(
    ("request_", "age", "verdict"),  # RFC 8246 §2
    [
        (asking(b"max-age=0"), 1, Verdict.HIT),
        (asking(b"max-age=0"), 61, Verdict.REVALIDATE),  # it holds while it is fresh
        (asking(b"max-age=0, max-stale=9"), 61, Verdict.REVALIDATE),
        (asking(b"no-cache"), 1, Verdict.REVALIDATE),  # the user insists
        (asking(b"min-fresh=99"), 1, Verdict.REVALIDATE),
    ],
)
def test_what_never_changes_is_not_reloaded_while_fresh(request_: Request, age: float, verdict: Verdict) -> None:
    head = of_fields(200, (cc(b"max-age=60"), cc(b"immutable")))

    assert judge_lookup(request_, Known(fresh_for(60, grace=10), head=head), T + age, HONOURING) is verdict


def cc(value: bytes) -> Field:
    return (b"cache-control", value)


def judged(*fields: Field, status: int = 200, request: Request = GET, rules: FreshnessRules = RULES) -> Disposition:
    return judge_response(request, ResponseHead(status, fields, 10), request_time=T, response_time=T, rules=rules)


ETAG = (b"etag", b'"x"')


STORE, SHARE, LEADER_ONLY = Share.STORE, Share.SHARE, Share.LEADER_ONLY


@pytest.mark.parametrize(
    ("status", "fields", "share", "reason"),
    [
        (200, [], STORE, "implicit"),
        (200, [cc(b"max-age=60")], STORE, "explicit"),
        # §3, §3.3: what is no final answer, or of a part only
        (103, [cc(b"max-age=60")], LEADER_ONLY, "partial"),
        (206, [(b"content-range", b"bytes 0-9/10"), cc(b"max-age=60")], LEADER_ONLY, "partial"),
        (304, [ETAG], LEADER_ONLY, "partial"),
        (412, [cc(b"max-age=60")], LEADER_ONLY, "partial"),
        (416, [cc(b"max-age=60")], LEADER_ONLY, "partial"),
        # §5.2.2.5, §5.2.2.3: no-store, and what lifts it
        (200, [cc(b"no-store, max-age=60")], LEADER_ONLY, "no-store"),
        (200, [cc(b"no-store, must-understand, max-age=60")], STORE, "explicit"),
        (302, [cc(b"no-store, must-understand, max-age=60")], STORE, "explicit"),
        (299, [cc(b"no-store, must-understand, max-age=60")], LEADER_ONLY, "no-store"),
        (299, [cc(b"must-understand, max-age=60")], SHARE, "status"),
        (200, [cc(b"no-store"), (b"cdn-cache-control", b"max-age=60")], STORE, "explicit"),  # RFC 9213
        (200, [cc(b"max-age=60"), (b"cdn-cache-control", b"no-store")], LEADER_ONLY, "no-store"),
        # §5.2.2.7
        (200, [cc(b"private, max-age=60")], LEADER_ONLY, "private"),
        (200, [cc(b'private="set-cookie"')], LEADER_ONLY, "private"),
        (503, [cc(b"private")], LEADER_ONLY, "private"),
        # §4.1
        (200, [(b"vary", b"*")], LEADER_ONLY, "vary-star"),
        (200, [(b"vary", b"accept"), (b"vary", b"origin, *")], LEADER_ONLY, "vary-star"),
        (200, [(b"vary", b"accept, origin")], STORE, "implicit"),
        # §7.3
        (200, [(b"set-cookie", b"a=b")], LEADER_ONLY, "set-cookie"),
        # what comes stale is stored if it can be of use: to be revalidated, in grace, or instead of an error
        (200, [cc(b"max-age=0")], SHARE, "no-lifetime"),
        (200, [(b"expires", b"0")], SHARE, "no-lifetime"),
        (200, [cc(b"max-age=0"), ETAG], STORE, "explicit"),
        (200, [cc(b"max-age=0"), (b"etag", b"unquoted")], SHARE, "no-lifetime"),
        (301, [cc(b"max-age=0"), ETAG], SHARE, "no-lifetime"),
        (200, [cc(b"max-age=0, stale-while-revalidate=9")], STORE, "explicit"),
        (200, [cc(b"max-age=0, stale-if-error=9")], STORE, "explicit"),
        (200, [cc(b"max-age=0, stale-if-error=9, must-revalidate")], SHARE, "no-lifetime"),
        (200, [cc(b"no-cache, max-age=60")], SHARE, "no-lifetime"),
        (200, [cc(b"no-cache, stale-if-error=9")], SHARE, "no-lifetime"),
        (200, [cc(b"no-cache"), ETAG], STORE, "implicit"),
        (200, [cc(b'no-cache="a", max-age=60'), ETAG], STORE, "explicit"),
        (200, [cc(b"max-age=60"), (b"age", b"61")], STORE, "explicit"),
        (200, [cc(b"max-age=60, must-revalidate"), (b"age", b"61")], SHARE, "no-lifetime"),
    ],
)
def test_an_origins_answer_is_judged(status: int, fields: list[Field], share: Share, reason: str) -> None:
    disposition = judged(*fields, status=status)

    assert (disposition.share, disposition.reason.value) == (share, reason)


@pytest.mark.parametrize(
    ("status", "control", "share", "reason"),
    [
        *[(status, b"", STORE, "implicit") for status in (200, 203, 204, 300, 301, 308)],  # RFC 9110 §15.1
        *[(status, b"", STORE, "negative") for status in (404, 405, 410, 414, 501)],
        # §3: others only if they say so
        *[(status, b"", SHARE, "status") for status in (201, 202, 299, 302, 303, 307, 399, 400, 451, 499)],
        *[(status, b"max-age=60", STORE, "explicit") for status in (201, 202, 299, 302, 303, 307, 399)],
        *[(status, b"public", STORE, "implicit") for status in (201, 299, 302, 303, 307)],
        *[(status, b"max-age=60", STORE, "negative") for status in (400, 404, 451, 499, 501)],
        (404, b"max-age=0", SHARE, "no-lifetime"),
        (404, b"no-store", LEADER_ONLY, "no-store"),
        # errors of one client or one moment
        *[(status, b"max-age=60", SHARE, "status") for status in (401, 403, 407, 408, 421, 425, 429)],
        *[(status, b"public, max-age=60", SHARE, "status") for status in (500, 502, 503, 504, 599)],
    ],
)
def test_a_status_decides_what_must_be_said(status: int, control: bytes, share: Share, reason: str) -> None:
    disposition = judged(cc(control), status=status)

    assert (disposition.share, disposition.reason.value) == (share, reason)


@pytest.mark.parametrize("status", [403, 429, 500, 503, 599])
def test_errors_that_pass_are_stored_where_a_bound_is_configured_for_them(status: int) -> None:
    rules = replace(RULES, negative={status: 2.0})

    disposition = judged(status=status, rules=rules)

    assert (disposition.share, disposition.reason.value) == (STORE, "negative")
    assert disposition.freshness is not None and disposition.freshness.lifetime == 2.0
    assert judged(cc(b"no-store"), status=status, rules=rules).share is LEADER_ONLY
    assert judged(status=status, rules=replace(RULES, negative={status: 0.0})).share is SHARE
    only_stated = replace(rules, default_lifetime=None)
    assert judged(status=status, rules=only_stated).share is SHARE
    assert judged(cc(b"max-age=60"), status=status, rules=only_stated).share is STORE


def test_the_age_of_what_is_not_stored_is_known_too() -> None:
    for control in (b"max-age=5", b"no-store", b"private"):
        freshness = judged(cc(control), (b"age", b"40")).freshness

        assert freshness is not None and freshness.age(T) == 40.0


@pytest.mark.parametrize(
    ("control", "share"),
    [
        (b"max-age=60", LEADER_ONLY),
        (b"max-age=60, proxy-revalidate", LEADER_ONLY),
        (b"max-age=60, public", STORE),
        (b"s-maxage=60", STORE),
        (b"max-age=60, must-revalidate", STORE),
        (b"public, no-store", LEADER_ONLY),
    ],
)
def test_answers_to_authorized_requests_are_stored_only_where_they_say_so(control: bytes, share: Share) -> None:
    request = Request.of(b"GET", b"/a", [(b"authorization", b"Basic eA==")])

    assert judged(cc(control), request=request).share is share  # §3.5
    assert judged((b"cdn-cache-control", control), cc(b"private"), request=request).share is share


COOKIE = (b"set-cookie", b"a=b")


@pytest.mark.parametrize(
    ("set_cookie", "share", "dropped"),
    [("refuse", LEADER_ONLY, set()), ("strip", STORE, {b"set-cookie"}), ("store", STORE, set())],
)
def test_cookies_are_refused_stripped_or_stored(set_cookie: SetCookie, share: Share, dropped: set[bytes]) -> None:
    disposition = judged(COOKIE, rules=replace(RULES, set_cookie=set_cookie))

    assert (disposition.share, set(disposition.dropped)) == (share, dropped)


NAMING = replace(RULES, honour_field_names=True)


@pytest.mark.parametrize(
    ("control", "share", "dropped", "unstored"),
    [
        (b'private="a, b", max-age=60', STORE, {b"a", b"b"}, set()),
        (b'no-cache="a, b", max-age=60', STORE, set(), {b"a", b"b"}),
        (b'no-cache="a", private="b"', STORE, {b"b"}, {b"a"}),
        (b'no-cache="set-cookie"', STORE, {b"set-cookie"}, {b"set-cookie"}),  # others may wait for it, too
        (b'private="set-cookie"', STORE, {b"set-cookie"}, set()),
        # these fields can't be left out of a response, so it holds for all of it
        (b'private="vary"', LEADER_ONLY, set(), set()),
        (b'private="a, cache-control"', LEADER_ONLY, set(), set()),
        (b'private="a", private', LEADER_ONLY, {b"a"}, set()),
    ],
)
def test_fields_that_are_named_may_be_left_out(
    control: bytes, share: Share, dropped: set[bytes], unstored: set[bytes]
) -> None:
    disposition = judged(cc(control), *([COOKIE] if b"set-cookie" in control else []), rules=NAMING)

    assert disposition.share is share
    assert (set(disposition.dropped), set(disposition.unstored)) == (dropped, unstored)


def test_what_must_not_be_left_out_is_asked_about_each_time() -> None:
    disposition = judged(cc(b'no-cache="content-type", max-age=60'), ETAG, rules=NAMING)

    assert disposition.freshness is not None
    assert (disposition.freshness.lifetime, set(disposition.unstored)) == (0.0, set())


def test_fields_that_concern_us_alone_are_left_out() -> None:
    rules = replace(RULES, targeted=(b"shield-cache-control", b"cdn-cache-control", b"surrogate-control"))

    assert judged(rules=rules).dropped == {b"shield-cache-control"}
    assert judged(rules=replace(rules, strip_targeted=False)).dropped == set()
    assert judged(rules=replace(RULES, strip_tags=True)).dropped == {b"surrogate-key", b"cache-tag", b"cache-groups"}


def test_a_requests_no_store_counts_where_the_rules_honour_it() -> None:
    assert judged(request=asking(b"no-store")).share is STORE
    assert judged(request=asking(b"no-store"), rules=HONOURING).share is LEADER_ONLY  # §5.2.1.5


def test_what_comes_stale_is_stored_where_clients_may_ask_for_that() -> None:
    came_stale = (cc(b"max-age=60"), (b"age", b"1000"))

    assert judged(*came_stale).share is SHARE
    assert judged(*came_stale, rules=HONOURING).share is STORE  # §5.2.1.2
    assert judged(*came_stale, rules=replace(HONOURING, error_grace=900.0)).share is SHARE


def test_answers_to_other_methods_are_not_shared() -> None:
    assert judged(request=Request.of(b"POST", b"/a")).reason.value == "method"


def test_nothing_useless_is_stored_for_its_validator_where_nothing_is_kept() -> None:
    rules = replace(RULES, keep=0.0, error_grace=0.0)

    assert judged(cc(b"max-age=0"), ETAG, rules=rules).share is SHARE


def test_a_forced_lifetime_counts_but_not_against_no_store_and_private() -> None:
    rules = replace(RULES, forced_lifetime=77.0)

    assert judged(cc(b"no-cache"), rules=rules).reason.value == "forced"
    assert judged(cc(b"max-age=0"), rules=rules).share is STORE
    assert judged(cc(b"no-store"), rules=rules).reason.value == "no-store"
    assert judged(cc(b"private"), rules=rules).reason.value == "private"
    assert judged(COOKIE, rules=rules).reason.value == "set-cookie"
    assert judged(status=404, rules=rules).reason.value == "negative"


def test_where_directives_are_ignored_no_store_and_private_are_too() -> None:
    rules = replace(RULES, ignore_cache_control=True)

    assert (
        judged(cc(b"no-store, private"), (b"cdn-cache-control", b"no-store"), rules=rules).reason.value == "implicit"
    )
    assert judged((b"vary", b"*"), rules=rules).reason.value == "vary-star"


TIGHTENING = st.sampled_from(
    [b"no-store", b"private", b'private="a"', b"no-cache", b"must-revalidate", b"proxy-revalidate", b"max-age=0"]
)
SAID = st.lists(
    TIGHTENING | st.sampled_from([b"max-age=9", b"s-maxage=5", b"public", b"stale-if-error=8", b"must-understand"]),
    max_size=5,
)


@given(SAID, TIGHTENING, st.integers(0, 6), st.sampled_from([200, 299, 301, 302, 404, 503]), st.booleans())
def test_another_restrictive_directive_makes_nothing_more_storable(
    said: list[bytes], more: bytes, at: int, status: int, has_validator: bool
) -> None:
    fields = (ETAG,) if has_validator else ()

    before = judged(cc(b", ".join(said)), *fields, status=status)
    after = judged(cc(b", ".join([*said[:at], more, *said[at:]])), *fields, status=status)

    if before.reason.value == "status" and b"max-age" in more:
        return  # it says now what was missing (§3, last condition)
    assert ORDER[after.share] >= ORDER[before.share]


ORDER = {STORE: 0, SHARE: 1, LEADER_ONLY: 2}


@pytest.mark.parametrize(
    ("status", "fields", "rules", "share", "by_request"),
    [
        (200, [(b"cache-control", b"max-age=9")], FreshnessRules(), Share.STORE, False),
        (404, [(b"cache-control", b"max-age=9")], FreshnessRules(), Share.SHARE, True),
        (404, [(b"cache-control", b"max-age=9")], FreshnessRules(unkeyed="store"), Share.STORE, False),
        (400, [], FreshnessRules(), Share.SHARE, True),
        (400, [(b"cache-control", b"no-store")], FreshnessRules(), Share.LEADER_ONLY, True),
        (301, [(b"location", b"https://evil.example/")], FreshnessRules(), Share.SHARE, True),
        (301, [(b"location", b"https://good.example/")], FreshnessRules(), Share.STORE, False),
    ],
)
def test_what_unkeyed_fields_may_have_brought_about_is_kept_for_nobody(
    status: int, fields: list[Field], rules: FreshnessRules, share: Share, by_request: bool
) -> None:
    request, head = Request.of(b"GET", b"/a"), ResponseHead(status, tuple(fields), 10)
    said = ((b"x-host", b"evil.example"),)

    found = judge_response(request, head, request_time=T, response_time=T, rules=rules, unkeyed=said)
    keyed = judge_response(request, head, request_time=T, response_time=T, rules=rules)

    assert (found.share, found.by_request) == (share, by_request)
    assert not keyed.by_request


# credentials


def answered_to(
    *forwarded: Field, said: tuple[Field, ...] = (), rules: FreshnessRules = RULES, status: int = 200
) -> Disposition:
    """An answer to a request of which an origin saw these fields, none of which its Vary names."""
    request, head = Request.of(b"GET", b"/a", forwarded), ResponseHead(status, said, 10)
    return judge_response(request, head, request_time=T, response_time=T, rules=rules, unkeyed=forwarded)


MINE = (b"cookie", b"me")


@pytest.mark.parametrize(
    ("said", "share"),
    [
        ((), LEADER_ONLY),
        ((cc(b"max-age=60"),), LEADER_ONLY),
        ((cc(b"max-age=60, proxy-revalidate"),), LEADER_ONLY),
        ((cc(b"no-cache"),), LEADER_ONLY),
        ((cc(b"immutable, max-age=60"),), LEADER_ONLY),
        ((cc(b"public"),), STORE),
        ((cc(b"max-age=60, public"),), STORE),
        ((cc(b"s-maxage=60"),), STORE),
        ((cc(b"max-age=60, must-revalidate"),), STORE),
        ((cc(b"public, private"),), LEADER_ONLY),
        ((cc(b"s-maxage=60, no-store"),), LEADER_ONLY),
        ((cc(b"public"), (b"cdn-cache-control", b"max-age=60")), LEADER_ONLY),  # RFC 9213: which counts alone
        (((b"cdn-cache-control", b"s-maxage=60"),), STORE),
        (((b"expires", b"Wed, 15 Nov 2028 00:00:00 GMT"),), LEADER_ONLY),
        ((cc(b"public"), (b"set-cookie", b"a=b")), LEADER_ONLY),
    ],
)
def test_what_is_answered_to_credentials_is_for_others_where_it_says_so(
    said: tuple[Field, ...], share: Share
) -> None:
    assert answered_to(MINE, said=said).share is share  # §3.5


@pytest.mark.parametrize("status", [200, 203, 204, 301, 302, 404, 410, 500])
def test_no_answer_to_credentials_is_anybody_elses_whatever_its_status(status: int) -> None:
    assert answered_to(MINE, status=status).share is LEADER_ONLY


@pytest.mark.parametrize(
    ("name", "rules", "share"),
    [
        (b"cookie", RULES, LEADER_ONLY),
        (b"x-api-key", RULES, LEADER_ONLY),
        (b"x_api_key", RULES, LEADER_ONLY),  # which CGI and its heirs can't tell apart
        (b"x-auth_token", RULES, LEADER_ONLY),
        (b"accept", RULES, STORE),
        (b"x-user", RULES, STORE),
        (b"x-user", replace(RULES, credentials=frozenset({b"x-user"})), LEADER_ONLY),
        (b"x_user", replace(RULES, credentials=frozenset({b"x-user"})), LEADER_ONLY),
        (b"cookie", replace(RULES, credentials=frozenset()), STORE),
        (b"authorization", replace(RULES, credentials=frozenset()), LEADER_ONLY),  # §3.5 knows no choice
        (b"cookie", replace(RULES, forced_lifetime=60.0), LEADER_ONLY),
        (b"cookie", replace(RULES, ignore_cache_control=True), LEADER_ONLY),
        (b"cookie", replace(RULES, unkeyed="store"), LEADER_ONLY),
        (b"cookie", replace(RULES, set_cookie="store"), LEADER_ONLY),
    ],
)
def test_which_fields_are_credentials_is_a_list(name: bytes, rules: FreshnessRules, share: Share) -> None:
    assert answered_to((b"accept", b"*/*"), (name, b"12345678"), rules=rules).share is share


def test_that_an_answer_is_personal_says_nothing_of_the_answers_to_others() -> None:
    found = answered_to(MINE)

    assert (found.reason, found.by_request) == (Reason.CREDENTIALS, True)


@given(
    said=st.lists(
        st.sampled_from([b"public", b"max-age=60", b"s-maxage=9", b"must-revalidate", b"private", b"no-cache"])
    ),
    name=st.sampled_from([b"cookie", b"authorization", b"x-api-key", b"accept"]),
    status=st.sampled_from([200, 204, 301, 404, 503]),
)
def test_credentials_never_let_more_clients_have_an_answer(said: list[bytes], name: bytes, status: int) -> None:
    line = cc(b", ".join(said))

    without, having = (
        answered_to(said=(line,), status=status),
        answered_to((name, b"me"), said=(line,), status=status),
    )

    assert ORDER[having.share] >= ORDER[without.share]


@pytest.mark.parametrize(
    ("stored", "age", "verdict"),
    [
        (Known(fresh_for(60, grace=10, error_grace=50)), 59, Verdict.HIT),
        (Known(fresh_for(60, grace=10, error_grace=50)), 109, Verdict.STALE),
        (Known(fresh_for(60, grace=10, error_grace=50)), 111, Verdict.REVALIDATE),
        (Known(fresh_for(60, grace=10, error_grace=50), etag=None), 109, Verdict.STALE),
        (Known(fresh_for(60, grace=10, error_grace=50), must_revalidate=True), 61, Verdict.REVALIDATE),
        (Known(fresh_for(60, error_grace=50), no_cache=True), 1, Verdict.REVALIDATE),
        (None, 0, Verdict.MISS),
    ],
)
def test_while_all_origins_are_bad_what_may_replace_an_error_is_served_at_once(
    stored: Known | None, age: float, verdict: Verdict
) -> None:
    assert judge_lookup(GET, stored, T + age, RULES, is_cut_off=True) is verdict


@pytest.mark.parametrize(
    ("request_", "verdict"), [(asking(b"no-cache"), Verdict.REVALIDATE), (asking(b"max-stale=5"), Verdict.REVALIDATE)]
)
def test_a_client_that_is_heard_may_want_an_origin_all_the_same(request_: Request, verdict: Verdict) -> None:
    stored = Known(fresh_for(60, error_grace=50))

    assert judge_lookup(request_, stored, T + 70, HONOURING, is_cut_off=True) is verdict
