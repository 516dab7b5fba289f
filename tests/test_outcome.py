"""One value, three renderings."""

from __future__ import annotations

import pytest

from shield.outcome import End, Exchange, Forward, Outcome, node_name

CASES = [
    (Outcome(hit=True, ttl=42), b"fra-1; hit; ttl=42", "hit"),
    (Outcome(hit=True, ttl=-5), b"fra-1; hit; ttl=-5", "stale"),
    (
        Outcome(forward=Forward.URI_MISS, forward_status=200, stored=True, ttl=60),
        b"fra-1; fwd=uri-miss; fwd-status=200; stored; ttl=60",
        "miss",
    ),
    (
        Outcome(forward=Forward.URI_MISS, forward_status=200, stored=True, collapsed=True),
        b"fra-1; fwd=uri-miss; fwd-status=200; stored; collapsed",
        "collapsed",
    ),
    (
        Outcome(forward=Forward.STALE, forward_status=304, stored=True),
        b"fra-1; fwd=stale; fwd-status=304; stored",
        "revalidated",
    ),
    (Outcome(forward=Forward.BYPASS, forward_status=200), b"fra-1; fwd=bypass; fwd-status=200", "bypass"),
    (Outcome(detail="no-route"), b"fra-1; detail=no-route", "error"),
    (Outcome(detail="options"), b"fra-1; detail=options", "options"),
    (
        Outcome(forward=Forward.URI_MISS, detail="fra=connect iad=server"),
        b'fra-1; fwd=uri-miss; detail="fra=connect iad=server"',
        "miss",
    ),
]


@pytest.mark.parametrize(("outcome", "member", "word"), CASES)
def test_an_outcome_is_one_member_of_cache_status_and_one_word(outcome: Outcome, member: bytes, word: str) -> None:
    assert outcome.cache_status(node_name("fra-1")) == member
    assert outcome.word == word


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (b":/a.webp", b'":/a.webp"'),
        (b'fra+iad:/a?x="\\', b'"fra+iad:/a?x=\\"\\\\"'),
        (b"fra:/a vary=salt/hash", b'"fra:/a"'),  # which variant it is, is ours to know
    ],
)
def test_the_key_is_told_where_that_is_wanted(key: bytes, said: bytes) -> None:
    outcome = Outcome(hit=True, ttl=1, key=key)

    assert outcome.cache_status(b"n", with_key=True) == b"n; hit; ttl=1; key=" + said
    assert outcome.cache_status(b"n") == b"n; hit; ttl=1"


def test_a_log_line_says_only_what_is_so() -> None:
    assert Outcome(hit=True, ttl=3).log_fields() == {"cache": "hit", "ttl": 3}
    assert Outcome(forward=Forward.URI_MISS, forward_status=200, stored=True, origin="fra").log_fields() == {
        "cache": "miss",
        "reason": "uri-miss",
        "forward_status": 200,
        "origin": "fra",
        "stored": True,
    }


@pytest.mark.parametrize(
    ("name", "member"),
    [("fra-1", b"fra-1"), ("1-fra", b'"1-fra"'), ("a b", b'"a b"'), ('a"\\', b'"a\\"\\\\"'), ("ä", b'"?"')],
)
def test_a_node_name_that_is_no_token_becomes_a_string(name: str, member: bytes) -> None:
    assert node_name(name) == member


def test_an_exchange_without_an_answer_has_a_status_of_its_own_and_no_first_byte() -> None:
    exchange = Exchange(b"GET", b"/a", "192.0.2.1", 10.0, route="all")

    exchange.finish(End.ABANDONED, 12.5)

    assert (exchange.status, exchange.outcome, exchange.origin, exchange.sent) == (499, None, None, 0)
    assert (exchange.first_byte_seconds, exchange.total_seconds) == (None, 2.5)


def test_an_exchange_times_the_first_byte_and_the_whole() -> None:
    exchange = Exchange(b"GET", b"/a", "192.0.2.1", 10.0)

    exchange.answer(200, Outcome(forward=Forward.URI_MISS, origin="fra"), 11.0)
    exchange.finish(End.WHOLE, 14.0)

    assert (exchange.first_byte_seconds, exchange.total_seconds, exchange.origin) == (1.0, 4.0, "fra")


def test_refusals_are_counted_apart_from_other_errors() -> None:
    refused = Outcome(detail="bad-target", refused=True)
    assert (refused.word, refused.log_fields()["cache"]) == ("refused", "refused")
    assert Outcome(detail="only-if-cached").word == "error"
