from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.rules.log_lines import LogValue
from shield.rules.log_query import LONGEST, LogQueryError, log_query
from tests.depth import tries

MISS: dict[str, LogValue] = {
    "time": 1000.5,
    "client": "10.1.2.3",
    "method": "GET",
    "target": "/images/a b.webp?x=1",
    "status": 200,
    "bytes": 2_000_000,
    "seconds": 0.75,
    "first_byte": 0.25,
    "cache": "miss",
    "reason": "stale",
    "origin": "fra",
    "attempts": 2,
    "route": "images",
    "stored": True,
}
HIT: dict[str, LogValue] = {
    "time": 1001.0,
    "client": "2001:db8::1",
    "method": "GET",
    "target": "/b",
    "status": 200,
    "bytes": 10,
    "seconds": 0.0,
    "cache": "hit",
    "tier": "memory",
}


def matched(text: str) -> str:
    query = log_query(text)
    return "".join(letter for letter, record in (("m", MISS), ("h", HIT)) if query.matches(record))


@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("", "mh"),
        ("  ", "mh"),
        ("miss", "m"),
        ("hit", "h"),
        ("!miss", "h"),
        ("! ! miss", "m"),
        ("miss reason=expired bytes>1MB", "m"),
        ("miss and reason=stale", "m"),
        ("bytes>2MB", ""),
        ("bytes>=2MB", "m"),
        ("bytes<1KiB", "h"),
        ("bytes = 10", "h"),
        ("status>=500", ""),
        ("status=2xx", "mh"),
        ("status!=2xx", ""),
        ("status=200 miss or hit", "mh"),
        ("status=404 (miss or hit)", ""),
        ("status=404 miss or hit", "h"),
        ("seconds>0.5", "m"),
        ("seconds>500ms", "m"),
        ("first_byte<=250ms", "m"),
        ("seconds<1m", "mh"),
        ("origin=fra", "m"),
        ("origin!=fra", "h"),
        ("origin!=iad", "mh"),
        ("attempts>1", "m"),
        ("attempts!=1", "mh"),
        ("route=images", "m"),
        ("client=10.0.0.0/8", "m"),
        ("client=10.1.2.3", "m"),
        ("client=2001:db8::/32", "h"),
        ("client!=10.0.0.0/8", "h"),
        ("client=unix", ""),
        ("client~10.*", "m"),
        ('path~"/images/a b.*"', "m"),
        ("path~*.webp", "m"),
        ("path!~*.webp", "h"),
        ("target~*.webp", ""),
        ('target="/images/a b.webp?x=1"', "m"),
        ("path=/b", "h"),
        ("stored", "m"),
        ("!stored", "h"),
        ("broken", ""),
        ("tier=memory or (miss !(bytes<1KB))", "mh"),
        ("cache=miss", "m"),
        ("cache~*i*", "mh"),
    ],
)
def test_a_query_says_which_requests_it_means(text: str, which: str) -> None:
    assert matched(text) == which


@pytest.mark.parametrize(
    ("text", "problem", "position"),
    [
        ("mis", 'unknown word "mis"; did you mean miss?', 0),
        ("miss orign=fra", 'unknown word "orign"; did you mean origin?', 5),
        ("miss zzzzzzzz", 'unknown word "zzzzzzzz"; fields: time', 5),
        ("miss bytes>", "expected a value after >", 11),
        ("bytes>big", 'expected a size, as 512KB or 1MiB, not "big"', 6),
        ("seconds>1x", "expected a duration", 8),
        ("status=ok", 'expected a number, not "ok"', 7),
        ("status~5*", "status is a number; expected =", 7),
        ("origin>fra", "origin is text: it has no order", 7),
        ("client=nowhere", "expected an address or a network", 7),
        ("(miss", 'expected ")"', 5),
        ("miss)", '")" without "("', 4),
        ("()", "expected a term", 1),
        ("miss or", "expected a term", 7),
        ("or miss", "expected a term", 0),
        ("!", "expected a term", 1),
        ("=x", 'unexpected "="', 0),
        ("miss = 3", 'unknown word "miss"', 0),
        ("stored=true", "stored is a term by itself", 7),
        ("(" * 30 + "miss" + ")" * 30, "nested more than 20 deep", 20),
        ("miss " * 300, f"longer than {LONGEST} characters", LONGEST),
    ],
)
def test_an_error_says_what_is_wrong_and_where(text: str, problem: str, position: int) -> None:
    with pytest.raises(LogQueryError) as caught:
        log_query(text)

    assert caught.value.problem.startswith(problem)
    assert caught.value.position == position
    assert str(caught.value).endswith(f", at character {position + 1}")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", True),
        ("hit", True),
        ("miss", False),
        ("miss or hit", True),
        ("miss or bytes>1MB", None),
        ("miss bytes>1MB", False),
        ("!miss", True),
        ("!(miss or stale)", True),
        ("bytes>1MB", None),
        ("origin=fra", False),
        ("origin!=fra", True),
        ("reason=expired or tier=memory", None),
        ("broken", False),
    ],
)
def test_a_query_knows_whether_it_is_about_plain_hits(text: str, answer: bool | None) -> None:
    assert log_query(text).of_hit() is answer


terms = st.sampled_from(
    [
        "miss",
        "hit",
        "!miss",
        "stored",
        "bytes>1MB",
        "status>=500",
        "origin=fra",
        "path~*.webp",
        "seconds>0.5",
        "!tier~m*",
    ]
)
queries = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(" ".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' or '.join(parts)})"),
        inner.map(lambda part: f"!({part})"),
    ),
    max_leaves=8,
)


@settings(max_examples=tries(200))
@given(one=queries, other=queries)
def test_queries_combine_as_logic_does(one: str, other: str) -> None:
    for record in (MISS, HIT):
        a, b = log_query(one).matches(record), log_query(other).matches(record)
        assert log_query(f"({one}) ({other})").matches(record) is (a and b)
        assert log_query(f"{one} or {other}").matches(record) is (a or b)
        assert log_query(f"!({one})").matches(record) is not a
        assert log_query(f"!(({one}) or ({other}))").matches(record) is log_query(f"!({one}) !({other})").matches(
            record
        )


@settings(max_examples=tries(200))
@given(text=queries)
def test_what_is_said_of_plain_hits_holds_for_each(text: str) -> None:
    query = log_query(text)

    if query.of_hit() is not None:
        assert query.matches(HIT) is query.of_hit()


@settings(max_examples=tries(300))
@given(text=st.text(st.sampled_from('miss hit status=>5<!~()"or 0MB.*/x'), max_size=60))
def test_any_text_is_a_query_or_an_error_with_its_place(text: str) -> None:
    try:
        query: Any = log_query(text)
    except LogQueryError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert query.matches(MISS) in (True, False)
