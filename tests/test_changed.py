"""The table of changed keys: nothing is forgotten before its time, unless all keys count as changed instead."""

from __future__ import annotations

import math
import os
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shield.changed import KEYS, MARKS, MOST_TAKEN_DOWN, SIZE, ChangedKeys
from shield.errors import StoreError
from shield.rules.changes import ChangeKind
from shield.rules.key import CacheKey
from shield.rules.routes import cache_key
from shield.shared import Shared
from tests.depth import tries


def key(number: int, space: bytes = b"") -> CacheKey:
    return cache_key(space, b"/images/%d" % number, b"")


def test_it_costs_one_comparison_while_nothing_has_changed() -> None:
    changes = ChangedKeys()
    assert not changes.live[0]

    changes.add(ChangeKind.PURGED, [(key(1), 7)], 100.0, 100.0)  # no origin lags
    changes.add_prefixes([b"/"], 100.0, 100.0)
    changes.add_all(100.0, 100.0)
    assert not changes.live[0]

    changes.add(ChangeKind.PURGED, [(key(1), 7)], 100.0, 200.0)
    changes.tick(199.0)
    assert changes.live[0]
    changes.tick(200.0)
    assert not changes.live[0]


def test_a_key_is_found_until_its_time_is_over() -> None:
    changes = ChangedKeys()
    changes.add(ChangeKind.CHANGED, [(key(1), 7)], 100.0, 200.0)

    found = changes.find(key(1), 199.0)

    assert found is not None
    assert (found.kind, found.at, found.until, found.version) == (ChangeKind.CHANGED, 100.0, 200.0, 7)
    assert changes.find(key(2), 199.0) is None
    assert changes.find(key(1), 200.0) is None


def test_a_version_is_kept_when_a_key_is_purged_again_with_nothing_stored() -> None:
    changes = ChangedKeys()
    for now, version in ((100.0, 7), (110.0, 0)):
        changes.add(ChangeKind.PURGED, [(key(1), version)], now, now + 100.0)
    found = changes.find(key(1), 111.0)
    assert found is not None and (found.at, found.version) == (110.0, 7)

    changes.add(ChangeKind.PURGED, [(key(1), 0)], 300.0, 400.0)  # long after
    found = changes.find(key(1), 301.0)
    assert found is not None and found.version == 0


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        (b"/images/", [True, True, False]),
        (b"/", [True, True, True]),
        (b"s1:/images/", [False, True, False]),
        (b":/images/", [True, False, False]),
        (b"/images/1x", [False, False, False]),
    ],
)
def test_prefixes_are_found_in_any_space_or_in_their_own(prefix: bytes, found: list[bool]) -> None:
    changes = ChangedKeys()
    changes.add_prefixes([prefix], 100.0, 200.0)

    keys = [key(1), key(1, b"s1"), cache_key(b"", b"/other", b"")]

    assert [changes.find(each, 150.0) is not None for each in keys] == found
    assert all(changes.find(each, 200.0) is None for each in keys)


def test_too_many_prefixes_make_all_keys_count_as_purged() -> None:
    changes = ChangedKeys()
    changes.add_prefixes([b"/%d/" % number for number in range(MARKS)], 100.0, 200.0)
    changes.add_prefixes([b"/0/"], 101.0, 200.0)  # one of them again
    assert changes.find(key(1), 150.0) is None

    changes.add_prefixes([b"/x/"], 102.0, 200.0)

    found = changes.find(key(1), 150.0)
    assert found is not None and found.kind is ChangeKind.PURGED
    assert changes.find(key(1), 200.0) is None


def test_more_keys_than_there_are_places_make_all_keys_count_as_purged() -> None:
    changes = ChangedKeys()
    many = [key(number) for number in range(2 * KEYS)]

    changes.add(ChangeKind.NEW, [(each, 0) for each in many], 100.0, 200.0)

    assert all(changes.find(each, 199.0) is not None for each in many[::97])
    assert changes.find(key(-1), 199.0) is not None
    assert changes.find(key(-1), 200.0) is None


def test_keys_that_are_taken_down_stay_so_until_they_are_lifted() -> None:
    changes = ChangedKeys()
    changes.add(ChangeKind.PURGED, [(key(3), 0)], 100.0, 200.0)
    changes.take_down([key(1), key(2), key(1)])
    changes.tick(1e12)

    found = changes.find(key(1), 1e12)

    assert found is not None and found.kind is ChangeKind.TAKEN_DOWN and found.until == math.inf
    assert changes.taken_down == 2
    changes.lift([key(1), key(3)])
    assert changes.find(key(1), 150.0) is None and changes.find(key(2), 150.0) is not None
    changes.lift([key(2)])
    assert (changes.taken_down, changes.live[0]) == (0, 200.0)
    changes.tick(1e12)
    assert not changes.live[0]


def test_too_many_takedowns_are_refused_and_none_of_them_is_made() -> None:
    changes = ChangedKeys()
    changes.take_down([key(number) for number in range(MOST_TAKEN_DOWN)])

    with pytest.raises(StoreError, match="8192 keys can be taken down at a time: lift some"):
        changes.take_down([key(-1), key(0)])

    assert changes.find(key(-1), 1.0) is None
    changes.take_down([key(0)])  # is there already
    changes.lift([key(0)])
    changes.take_down([key(-1)])
    assert changes.find(key(-1), 1.0) is not None


def test_takedowns_on_disk_are_read_once() -> None:
    changes = ChangedKeys()
    changes.load(lambda: [key(1).digest])
    changes.lift([key(1)])

    changes.load(lambda: [key(1).digest])

    assert changes.find(key(1), 1.0) is None


def test_another_process_sees_what_is_added() -> None:
    memory = Shared(workers=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        memory.changes.add(ChangeKind.DELETED, [(key(1), 0)], 100.0, 200.0)
        memory.changes.take_down([key(2)])
        os._exit(0)
    os.waitpid(pid, 0)

    found = [memory.changes.find(key(number), 150.0) for number in (1, 2, 3)]

    assert [each and each.kind for each in found] == [ChangeKind.DELETED, ChangeKind.TAKEN_DOWN, None]
    memory.close()


class Model(RuleBasedStateMachine):
    """Against a table without limits: each change that still matters is found, as itself or as that of all keys."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = ChangedKeys(memoryview(bytearray(SIZE)))
        self.now = 100.0
        self.known: dict[int, tuple[ChangeKind, float]] = {}
        self.down: set[int] = set()

    @rule(
        kind=st.sampled_from([kind for kind in ChangeKind if kind is not ChangeKind.TAKEN_DOWN]),
        numbers=st.lists(st.integers(0, 40), max_size=20),
        lag=st.floats(0, 50),
    )
    def add(self, kind: ChangeKind, numbers: list[int], lag: float) -> None:
        self.changes.add(kind, [(key(number), 0) for number in numbers], self.now, self.now + lag)
        if self.now + lag > self.now:
            self.known.update((number, (kind, self.now + lag)) for number in numbers)

    @rule(numbers=st.lists(st.integers(0, 40), max_size=5))
    def take_down(self, numbers: list[int]) -> None:
        self.changes.take_down([key(number) for number in numbers])
        self.down.update(numbers)

    @rule(numbers=st.lists(st.integers(0, 40), max_size=5))
    def lift(self, numbers: list[int]) -> None:
        self.changes.lift([key(number) for number in numbers])
        self.down.difference_update(numbers)

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.changes.tick(self.now)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        for number in range(41):
            kind, until = self.known.get(number, (None, 0.0))
            found = self.changes.find(key(number), self.now)
            if number in self.down:
                assert found is not None and found.kind is ChangeKind.TAKEN_DOWN
            elif until > self.now:
                assert found is not None and found.kind is kind
            else:
                assert found is None
            assert found is None or self.changes.live[0] > self.now


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=tries(20), stateful_step_count=20, deadline=None)


@given(numbers=st.sets(st.integers(0, 10**9), min_size=1, max_size=tries(200)))
def test_any_keys_are_told_apart(numbers: set[int]) -> None:
    changes = ChangedKeys()
    changes.take_down([key(number) for number in numbers])

    assert changes.taken_down == len(numbers)
    assert all(changes.is_taken_down(key(number)) for number in numbers)
    assert not changes.is_taken_down(key(-1))
