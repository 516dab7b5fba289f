"""Which entries stay: whatever is done, the sums hold, and every key has one turn."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from shield.store.fifo import MARK, S3Fifo, is_of_main, size_of, use, uses_of
from tests.depth import tries


def policy(capacity: int, max_entry: int | None = None) -> S3Fifo[bytearray]:
    return S3Fifo(
        capacity, max_entry=max_entry or capacity, mark_of=lambda mark: mark, on_gone=lambda text, mark: None
    )


def put(cache: S3Fifo[bytearray], name: bytes, size: int = 10) -> bytearray:
    mark = bytearray(MARK.pack(0, 0, size))
    assert cache.put(name, mark)
    return mark


def test_an_empty_policy_has_nothing_to_give_up() -> None:
    with pytest.raises(KeyError):
        policy(100).evict()


def test_keys_that_come_and_go_leave_no_turns_behind() -> None:
    cache = policy(1 << 20)
    put(cache, b"stays")

    for number in range(20_000):
        put(cache, b"comes and goes %d" % (number % 10))
        cache.remove(b"comes and goes %d" % (number % 10))

    assert len(cache) == 1
    assert cache.find(b"stays") is not None
    assert len(cache._small.texts) < 1100
    assert cache.evict()[0] == b"stays"


def test_an_entry_that_is_replaced_keeps_its_standing() -> None:
    cache = policy(100)
    use(put(cache, b"a"))
    for number in range(9):
        put(cache, b"%d" % number)
    put(cache, b"more")  # moves a to the main queue

    use(put(cache, b"a"))
    later = put(cache, b"a")

    assert is_of_main(later)
    assert uses_of(later) == 1


class PolicyMachine(RuleBasedStateMachine):
    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.gone: list[bytes] = []
        self.there: set[bytes] = set()
        self.cache: S3Fifo[bytearray] = S3Fifo(
            40_000, max_entry=40_000, mark_of=lambda mark: mark, on_gone=lambda text, mark: self.gone.append(text)
        )

    @rule(target=keys, name=st.integers(0, 40))
    def key(self, name: int) -> bytes:
        return str(name).encode()

    @rule(name=keys, size=st.integers(0, 12_000))
    def commit(self, name: bytes, size: int) -> None:
        mark = put(self.cache, name, size)
        assert self.cache.find(name) is mark
        self.there.add(name)
        self.leave(except_for=name)

    @rule(name=keys)
    def use(self, name: bytes) -> None:
        mark = self.cache.find(name)
        if mark is not None:
            use(mark)

    @rule(name=keys)
    def remove(self, name: bytes) -> None:
        assert self.cache.remove(name) == (name in self.there)
        self.leave()

    @rule()
    def evict(self) -> None:
        if len(self.cache):
            text, _ = self.cache.evict()
            assert self.cache.find(text) is None
            assert self.gone == [text]
            self.leave()

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.there.clear()

    def leave(self, except_for: bytes = b"") -> None:
        """What left was told, once each."""
        assert len(self.gone) == len(set(self.gone))
        self.there -= {text for text in self.gone if text != except_for}
        self.gone.clear()

    @invariant()
    def sums_hold(self) -> None:
        cache = self.cache
        marks = dict(pair for batch in cache.batches() for pair in batch)
        assert set(marks) == self.there
        assert len(cache) == len(marks)
        assert cache.used == sum(map(size_of, marks.values())) <= cache.capacity
        of_small = {text: mark for text, mark in marks.items() if not is_of_main(mark)}
        assert (cache._small.live, cache._small_size) == (len(of_small), sum(map(size_of, of_small.values())))
        assert cache._main.live == len(marks) - len(of_small)
        for queue, of_main in ((cache._small, False), (cache._main, True)):
            turns = {2 * (queue.first + at) + of_main: text for at, text in enumerate(queue.texts)}
            for text, mark in marks.items():
                if is_of_main(mark) == of_main:
                    assert turns[MARK.unpack_from(mark)[1]] == text
        assert not any(text in ghosts for text in marks for ghosts in cache._ghosts)


PolicyMachine.TestCase.settings = settings(max_examples=tries(20), stateful_step_count=40, deadline=None)
TestPolicy = PolicyMachine.TestCase
