"""The bytes of a fill in flight."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.fill.buffer import FillBuffer, FillMemory
from shield.store.entry import BLOCK, body_length


def body(length: int) -> bytes:
    return (b"0123456789abcdefg" * (length // 17 + 1))[:length]


def drain(buffer: FillBuffer, at: int) -> bytes:
    found = []
    while (piece := buffer.read(at)) is not None:
        found.append(bytes(piece))
        at += len(piece)
    return b"".join(found)


@given(
    pieces=st.lists(st.sampled_from([1, 100, 65_536, 300_000, BLOCK, 2 * BLOCK + 1]), max_size=12),
    share=st.floats(0, 1),
)
def test_a_retained_body_can_be_read_from_any_offset_and_ends_in_full_blocks(pieces: list[int], share: float) -> None:
    whole = body(sum(pieces))
    memory = FillMemory(1 << 30)
    buffer = FillBuffer(memory)
    assert buffer.retain(len(whole))

    at = 0
    for size in pieces:
        buffer.append(whole[at : at + size])
        at += size
        offset = int(share * at)
        assert drain(buffer, offset) == whole[offset:at]

    blocks = buffer.body()
    assert b"".join(blocks) == whole
    assert all(len(block) == BLOCK for block in blocks[:-1])
    assert body_length(blocks) == len(whole)
    offset = int(share * at)
    assert drain(buffer, offset) == whole[offset:]
    buffer.release()
    assert memory.used == 0


@given(pieces=st.lists(st.sampled_from([1, 100, 65_536, BLOCK + 3]), min_size=1, max_size=12), share=st.floats(0, 1))
def test_a_window_gives_up_what_was_passed_and_nothing_else(pieces: list[int], share: float) -> None:
    whole = body(sum(pieces))
    buffer = FillBuffer(FillMemory(0))
    at = 0
    for size in pieces:
        buffer.append(whole[at : at + size])
        at += size
    offset = int(share * at)

    buffer.trim(offset)

    assert drain(buffer, offset) == whole[offset:]
    assert buffer.held >= at - offset
    assert buffer.held <= at - offset + max(pieces)
    if offset > max(pieces):
        assert buffer.read(0) is None


def test_a_body_that_stops_being_retained_stays_readable_until_it_is_trimmed() -> None:
    memory = FillMemory(4 * BLOCK)
    whole = body(2 * BLOCK + 10)
    buffer = FillBuffer(memory)
    buffer.retain(1)
    buffer.append(whole)

    buffer.become_window()

    assert memory.used == 0
    assert drain(buffer, 5) == whole[5:]


def test_memory_is_given_to_all_fills_together_and_never_more_than_there_is() -> None:
    memory = FillMemory(10 * BLOCK)
    first, second = FillBuffer(memory), FillBuffer(memory)

    assert first.retain(6 * BLOCK)
    assert not second.retain(5 * BLOCK)
    assert not second.retained
    assert second.retain(3 * BLOCK)
    assert second.grow(4 * BLOCK)
    assert not second.grow(4 * BLOCK + 1)
    assert memory.used == 10 * BLOCK

    first.release()
    second.release()
    assert memory.used == 0
