"""Inputs for a target: anything, its words, and its seeds with something done to them."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from tests.fuzz.target import Target

WAYS = ("insert", "delete", "replace", "repeat", "cut")

Change = tuple[str, int, bytes]
"""What is done, where, and with what."""


def changed(data: bytes, changes: list[Change]) -> bytes:
    for way, place, word in changes:
        at = place % (len(data) + 1)
        if way == "insert":
            data = data[:at] + word + data[at:]
        elif way == "delete":
            data = data[:at] + data[at + len(word) :]
        elif way == "replace":
            data = data[:at] + word + data[at + len(word) :]
        elif way == "repeat":
            data = data[:at] + data[at : at + 8 * len(word)] + data[at:]
        else:
            data = data[:at]
    return data


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """For hypothesis."""
    few_bytes = st.binary(min_size=1, max_size=4)
    word = st.one_of(st.sampled_from(target.words), few_bytes) if target.words else few_bytes
    seed = st.sampled_from(target.seeds)
    changes = st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 2000), word), max_size=5)
    return st.one_of(
        st.builds(changed, seed, changes),
        st.builds(changed, st.tuples(seed, seed).map(b"".join), changes),
        st.lists(word, max_size=12).map(b"".join),
        st.binary(max_size=64),
    )


def drawn(target: Target, chance: Random) -> bytes:
    """For whoever has the time to draw many."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(64))
    data = b"".join(chance.choices(target.seeds, k=chance.choice((0, 1, 1, 1, 2))))
    return changed(data, [_change(target, chance) for _ in range(chance.randint(0, 6))])


def _change(target: Target, chance: Random) -> Change:
    word = (
        chance.choice(target.words)
        if target.words and chance.random() < 0.6
        else chance.randbytes(chance.randint(1, 4))
    )
    return chance.choice(WAYS), chance.randrange(2000), word
