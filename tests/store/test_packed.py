"""An entry in RAM is one piece of bytes that the garbage collector doesn't know of, and unpacks to what it was."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules import hidden
from shield.rules.freshness import Freshness
from shield.rules.heads import StoredHead, as_judged, of_fields
from shield.rules.key import key_of_text
from shield.store.entry import BLOCK, Entry
from shield.store.memory import MemoryTier
from shield.store.packed import HEAD_AT, SMALL, pack, plain_fields, set_since, since_of, unpacked

TIMES = st.floats(0.0, 2.0**40)
SPANS = st.integers(0, 1 << 24).map(float)
VALUES = st.text("abc:, \"'", max_size=20).map(str.encode)
NAMES = st.sampled_from([b"etag", b"content-type", b"x-etag", b"last-modified", b"cache-control", hidden.LINE])
BODIES = st.sampled_from([b"", b"x", b"y" * SMALL, b"z" * (SMALL + 1), b"b" * (BLOCK + 3)])


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    fields = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    freshness = Freshness(draw(TIMES), draw(SPANS), draw(SPANS), draw(SPANS), draw(SPANS))
    head = as_judged(of_fields(draw(st.sampled_from([200, 301, 404])), tuple(fields)), freshness)
    body = draw(BODIES)
    blocks = tuple(body[at : at + BLOCK] for at in range(0, len(body), BLOCK))
    made = Entry(
        key_of_text(b":/" + draw(VALUES)), head, freshness, blocks, origin=draw(st.sampled_from([None, "a"]))
    )
    made.tags, made.stored_at, made.since = draw(VALUES), draw(TIMES), draw(st.integers(0, 2**63))
    return made


@given(entries())
def test_it_unpacks_to_what_it_was(entry: Entry) -> None:
    memory = MemoryTier(capacity=64 << 20, max_entry=64 << 20)
    assert memory.commit(entry)

    found = memory.lookup(entry.key.text)

    assert found is not None and found.packed is not None and memory.holds(entry) and memory.holds(found)
    for name in ("key", "head", "freshness", "length", "origin", "tags", "stored_at", "since", "size"):
        assert getattr(found, name) == getattr(entry, name)
    for name in ("status", "etag", "last_modified", "no_cache", "must_revalidate", "shown", "not_modified", "fields"):
        assert getattr(found.head, name) == getattr(entry.head, name)
    assert found.plain_hit_until == entry.plain_hit_until
    assert b"".join(found.blocks) == b"".join(entry.blocks)
    assert next(memory.entries()).head == entry.head
    _, status, length, shown_end, _, until, born, lifetime = plain_fields(found.packed)
    assert (status, length, until) == (entry.head.status, entry.length, entry.plain_hit_until)
    assert (born, lifetime) == (entry.freshness.born, entry.freshness.lifetime)
    assert found.packed[HEAD_AT:shown_end] == entry.head.shown


def test_a_head_may_have_no_etag_that_it_was_given_one_by() -> None:
    """As a marker of variants, whose block is no head."""
    head = StoredHead(0, b"salt accept", (), b'"1"', None)
    marker = Entry(key_of_text(b":/a"), head, Freshness(0.0, 1.0, 0.0, 0.0), ())

    found = unpacked(b":/a", pack(marker, 0), None, None)

    assert found.is_marker
    assert (found.head.block, found.head.etag, found.head.fields) == (b"salt accept", b'"1"', ())


def test_marks_of_purges_are_noted_in_place() -> None:
    packed = pack(Entry(key_of_text(b":/a"), of_fields(200, ()), Freshness(0.0, 1.0, 0.0, 0.0), (b"body",)), 0)

    set_since(packed, 2**63)

    assert since_of(packed) == 2**63
    assert bytes(unpacked(b":/a", packed, None, None).blocks[0]) == b"body"


@pytest.mark.parametrize("size", [100, SMALL + 1, 300_000])
def test_the_garbage_collector_knows_of_no_entry(size: int) -> None:
    memory = MemoryTier(capacity=64 << 20, max_entry=8 << 20)
    for number in range(50):
        fields = ((b"etag", b'"%d"' % number),)
        key = key_of_text(b":/%d" % number)
        memory.commit(Entry(key, of_fields(200, fields), Freshness(0.0, 1.0, 0.0, 0.0), (bytes(size),)))

    tables: list[dict[bytes, Any]] = [*memory.shards, *memory.bodies]
    for table in tables:
        assert not gc.is_tracked(table)
        assert not any(gc.is_tracked(each) for pair in table.items() for each in pair)

    memory.clear()

    assert (memory.statistics().entries, memory.statistics().used_bytes, any(tables)) == (0, 0, False)


def test_what_others_keep_beside_an_entry_goes_with_it() -> None:
    memory = MemoryTier(capacity=64 << 10, max_entry=64 << 10)
    entry = Entry(key_of_text(b":/a"), of_fields(200, ()), Freshness(0.0, 1.0, 0.0, 0.0), (b"body",))
    for change in (lambda: memory.commit(entry), lambda: memory.remove(b":/a"), memory.clear, memory.tick):
        memory.commit(entry)
        memory.beside[b":/a"] = ("made of it",)

        change()

        assert not memory.beside
