"""Heads that come in several segments, or with bare line feeds."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import Fault
from shield.origin.head import MessageError
from shield.origin.pieces import HeadPieces
from shield.origin.terms import MessageLimits

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: a\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
LIMITS = MessageLimits(head_bytes=200)
BARE = replace(LIMITS, bare_lf=True)


def fed(data: bytes, cuts: list[int], limits: MessageLimits = LIMITS) -> tuple[bytes, int] | None:
    """The result for bytes that come cut at these places."""
    pieces = HeadPieces(limits)
    edges = sorted({0, *[cut % len(data) for cut in cuts], len(data)})
    for start, stop in itertools.pairwise(edges):
        whole = pieces.add(data[start:stop])
        if whole is not None:
            return whole[0] + data[stop:], whole[1]
    return None


@given(cuts=st.lists(st.integers(0, 200)), body=st.sampled_from([b"", b"12345", b"\r\n\r\n"]))
def test_a_head_is_the_same_however_it_is_cut(cuts: list[int], body: bytes) -> None:
    assert fed(HEAD + body, cuts) == (HEAD + body, len(HEAD))


@given(cuts=st.lists(st.integers(0, 200)), before=st.sampled_from([b"", INTERIM]))
def test_bare_line_feeds_become_line_ends_where_they_are_allowed(cuts: list[int], before: bytes) -> None:
    sent = (before + HEAD).replace(b"\r\n", b"\n") + b"a\nb"

    assert fed(sent, cuts, BARE) == (before + HEAD + b"a\nb", len(before or HEAD))


@pytest.mark.parametrize("sent", [b"x", b"HTTP/2", b"\r\n", b"HTTP/1.1 200 OK\nserver: x"])
def test_what_cannot_become_a_head_is_refused_before_its_end(sent: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        HeadPieces(LIMITS).add(sent)

    assert caught.value.fault is Fault.MALFORMED


@pytest.mark.parametrize("limits", [LIMITS, BARE])
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_head_longer_than_allowed_is_refused(limits: MessageLimits, end: bytes) -> None:
    pieces = HeadPieces(limits)
    assert pieces.add(b"HTTP/1.1 200 OK\r\na: ") is None

    with pytest.raises(MessageError) as caught:
        pieces.add(b"b" * 200 + end)

    assert caught.value.fault is Fault.TOO_LARGE
