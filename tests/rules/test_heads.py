"""Heads as bytes, and their stored form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field
from shield.rules.freshness import Freshness
from shield.rules.heads import as_judged, block, of_fields, split_block, with_length


def test_a_block_is_a_head_without_its_blank_line() -> None:
    assert block(200, [(b"etag", b'"x"'), (b"a", b"")]) == b'HTTP/1.1 200 OK\r\netag: "x"\r\na: \r\n'
    assert block(299, []) == b"HTTP/1.1 299 \r\n"  # RFC 9112 §4: the space stays


NAMES = st.from_regex(rb"[a-z][a-z0-9-]{0,8}", fullmatch=True)


@given(st.integers(200, 599), st.lists(st.tuples(NAMES, st.binary(max_size=20))))
def test_a_block_is_split_into_what_it_was_made_of_or_not_made(status: int, fields: list[Field]) -> None:
    if any(set(value) & set(b"\r\n\0") for _, value in fields):
        with pytest.raises(ValueError, match="can't be sent"):
            block(status, fields)
        return

    assert split_block(block(status, fields)) == (status, fields)


def test_a_hidden_digest_stays_so_when_a_head_changes() -> None:
    hiding = of_fields(200, ((b"etag", b'"v1"'), (b"shield-hidden", b"md5=:%b==:" % (b"A" * 22))))

    changed = with_length(hiding, 7)

    assert b"md5" not in changed.shown and b"md5" in changed.block
    assert changed.fields[-1][0] == b"shield-hidden"


def test_a_length_learned_at_the_end_is_stored() -> None:
    head = of_fields(200, ((b"date", b"x"), (b"via", b"1.1 a")))

    assert b"content-length" not in head.block
    assert b"content-length: 7\r\n" in with_length(head, 7).block


@pytest.mark.parametrize(
    ("lifetime", "grace", "error_grace", "no_cache", "must_revalidate"),
    [(0, 0, 0, True, True), (60, 0, 0, False, True), (60, 1, 0, False, False), (0, 0, 1, False, False)],
)
def test_what_forbids_serving_is_known_of_a_stored_head(
    lifetime: float, grace: float, error_grace: float, no_cache: bool, must_revalidate: bool
) -> None:
    freshness = Freshness(born=0.0, lifetime=lifetime, grace=grace, keep=0.0, error_grace=error_grace)

    head = as_judged(of_fields(200, ((b"cache-control", b"no-store"),)), freshness)

    assert (head.no_cache, head.must_revalidate) == (no_cache, must_revalidate)
