from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.edge.http2.frames import MAX_FRAME, PREFACE, FrameError, Frames
from tests.edge.http2.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    SETTINGS,
    frame,
)

BLOCK = frame(HEADERS, b"ab", stream=1) + frame(CONTINUATION, b"cd", stream=1, flags=END_HEADERS)
GOODBYE = frame(GOAWAY, bytes(8))


def begun(max_block: int = 1000) -> Frames:
    frames = Frames(max_block=max_block)
    assert frames.take(PREFACE) == PREFACE
    return frames


def test_whole_frames_are_handed_on_and_counted() -> None:
    frames = begun()
    sent = frame(SETTINGS) + frame(HEADERS, b"abc", stream=1, flags=END_HEADERS) + frame(PING, b"12345678")

    assert frames.take(sent) == sent
    assert (frames.units, frames.steps, frames.open) == (3, 2, False)


def test_long_frames_without_a_request_count_several_times_but_bodies_once() -> None:
    frames = begun()
    frames.take(frame(SETTINGS, bytes(6000)))
    assert frames.steps == 24

    frames.take(frame(DATA, bytes(6000), stream=1))
    assert frames.steps == 25


def test_a_header_block_is_open_until_its_end() -> None:
    frames = begun()

    frames.take(BLOCK[:11])
    assert (frames.open, frames.units) == (True, 0)
    frames.take(BLOCK[11:])
    assert (frames.open, frames.units, frames.steps) == (False, 1, 1)


def test_the_preface_is_due_first() -> None:
    frames = Frames(max_block=1000)
    assert frames.open
    assert frames.take(PREFACE[:10]) == PREFACE[:10]
    assert frames.open
    assert frames.take(PREFACE[10:] + frame(SETTINGS)) == PREFACE[10:] + frame(SETTINGS)
    assert not frames.open


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", b"\0"])
def test_anything_else_is_refused_at_once(said: bytes) -> None:
    with pytest.raises(FrameError, match="no-preface"):
        Frames(max_block=1000).take(said)


def test_goaway_is_taken_out() -> None:
    frames = begun()
    ping = frame(PING, b"12345678")

    assert frames.take(ping + GOODBYE + ping + GOODBYE) == ping + ping
    assert frames.goes_away


def test_goaway_within_a_header_block_is_for_h2_to_refuse() -> None:
    frames = begun()
    assert frames.take(BLOCK[:11] + GOODBYE) == BLOCK[:11] + GOODBYE


def test_a_frame_that_is_too_large_is_refused_by_its_head() -> None:
    frames = begun()
    frames.take(b"")
    with pytest.raises(FrameError, match="frame-too-large"):
        frames.take((MAX_FRAME + 1).to_bytes(3, "big") + bytes(6))


def test_a_frame_of_the_greatest_size_is_taken() -> None:
    sent = frame(DATA, bytes(MAX_FRAME), stream=1)
    assert begun().take(sent) == sent


def test_a_header_block_beyond_its_limit_is_refused() -> None:
    frames = begun(max_block=100)
    frames.take(frame(HEADERS, bytes(60), stream=1))
    frames.take(frame(CONTINUATION, bytes(40), stream=1))
    with pytest.raises(FrameError, match="head-too-large"):
        frames.take(frame(CONTINUATION, b"x", stream=1))


FRAMES = st.lists(
    st.one_of(
        st.builds(
            frame, st.integers(0, 12), st.binary(max_size=40), stream=st.integers(0, 5), flags=st.integers(0, 5)
        ),
        st.sampled_from([GOODBYE, BLOCK, frame(PING, b"12345678")]),
    ),
    max_size=8,
).map(b"".join)


@given(sent=FRAMES, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_it_does_not_matter_in_which_pieces_frames_come(sent: bytes, cuts: list[int]) -> None:
    at_once, in_pieces = begun(), begun()
    places = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})

    whole = at_once.take(sent)
    parts = [in_pieces.take(sent[start:stop]) for start, stop in pairwise(places)]

    assert b"".join(parts) == whole
    facts = [(each.units, each.steps, each.open, each.goes_away) for each in (at_once, in_pieces)]
    assert facts[0] == facts[1]


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(said: bytes) -> None:
    frames = begun()
    try:
        taken = frames.take(said)
    except FrameError:
        return
    assert len(taken) <= len(said)
