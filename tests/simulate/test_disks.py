"""The model of a disk tier: first in, first out by segments, with a second chance for what was hit."""

from __future__ import annotations

from shield.rules.freshness import Freshness
from shield.rules.rendezvous import Rendezvous
from shield.simulate.disks import RECORD_BYTES, SimulatedDirectoryTerms, SimulatedTier, SimulatedTierTerms
from shield.simulate.entries import SimulatedEntry, SimulatedKey, SimulatedSlice, slice_text

TERMS = SimulatedTierTerms("ssd", (SimulatedDirectoryTerms(1 << 20, 128 << 10),))
_FIXED = RECORD_BYTES + 3


def entry(number: int, *, size: int = 8 << 10, lifetime: float = 1e9) -> SimulatedEntry:
    text = b"%03d" % number
    key = SimulatedKey(text, text.ljust(16, b"."), 0, "a")
    return SimulatedEntry(key, 200, size - _FIXED, Freshness(0.0, lifetime, 0.0, 0.0), 0)


def tier(*hot: int) -> SimulatedTier:
    names = {(b"%03d" % number).ljust(16, b".") for number in hot}
    return SimulatedTier(TERMS, lambda digest: digest in names)


def held(of: SimulatedTier, numbers: range) -> list[int]:
    return [number for number in numbers if of.find(b"%03d" % number) is not None]


def test_the_oldest_go_segment_by_segment_and_never_more_than_there_is_room_for() -> None:
    made, left = tier(), list[int]()
    made.leave = lambda each, now: left.append(int(each.key.text))

    for number in range(300):
        made.write(entry(number), 0.0)

    kept = held(made, range(300))
    assert kept == list(range(kept[0], 300))
    assert left == list(range(kept[0]))
    assert 80 <= len(kept) <= 126 and made.has_reclaimed  # of 128 that would fit without segments in reserve


def test_what_was_hit_is_written_again_up_to_half_a_segment() -> None:
    made = tier(*range(12))
    for number in range(130):
        made.write(entry(number), 0.0)

    assert held(made, range(16)) == list(range(8))  # sixteen in a segment


def test_what_is_of_no_use_any_more_is_not_even_handed_on() -> None:
    made, left = tier(0), list[int]()
    made.leave = lambda each, now: left.append(int(each.key.text))
    made.write(entry(0, lifetime=5.0), 0.0)
    for number in range(1, 130):
        made.write(entry(number), 10.0)

    assert 0 not in left and 1 in left
    assert made.find(b"000") is None


def test_a_newer_entry_replaces_an_older_one_and_outlives_its_segment() -> None:
    made = tier()
    made.write(entry(0), 0.0)
    for number in range(1, 60):
        made.write(entry(number), 0.0)
    newer = entry(0)
    made.write(newer, 0.0)
    for number in range(60, 130):
        made.write(entry(number), 0.0)

    assert made.find(b"000") is newer


def test_an_entry_comes_down_once() -> None:
    made, one = tier(), entry(0)
    made.take(one, 0.0)
    made.take(one, 0.0)

    assert made.find(b"000") is one
    made.drop(b"000")
    assert made.find(b"000") is None


def test_what_is_too_large_is_not_kept_nor_is_its_older_version() -> None:
    made = tier()
    made.write(entry(0), 0.0)
    made.write(entry(0, size=200 << 10), 0.0)

    assert made.find(b"000") is None


SLICE = 8 << 10


def large(of: SimulatedTier, number: int, slices: int) -> SimulatedEntry:
    """An entry in slices, all of which are written."""
    head = entry(number, size=slices * SLICE + _FIXED).as_head(SLICE)
    of.write(head, 0.0)
    for each in range(slices):
        of.write(SimulatedSlice(head.key, each, head.length, SLICE), 0.0)
    return head


def test_the_head_of_a_large_entry_stays_as_long_as_one_of_its_slices_does() -> None:
    made = tier()
    head = large(made, 0, 20)  # in two segments
    numbers = range(1, 97)
    for number in numbers:
        made.write(entry(number), 0.0)

    here = [number for number in range(20) if made.find_slice(slice_text(b"000", number)) is not None]
    assert here and here == list(range(here[0], 20)) and here[0] > 0
    assert made.find(b"000") is head
    for number in [*numbers, *numbers]:
        made.write(entry(number), 0.0)
    assert made.find(b"000") is None and made.find_slice(slice_text(b"000", 19)) is None


def test_slices_move_down_with_their_head_and_go_with_it() -> None:
    upper, lower = tier(), tier()
    upper.leave = lower.take
    head = large(upper, 0, 3)
    for number in range(1, 130):
        upper.write(entry(number), 0.0)

    assert upper.find(b"000") is None
    assert lower.find(b"000") is head
    moved = [lower.find_slice(slice_text(b"000", number)) for number in range(3)]
    assert all(each is not None and each.is_of(head) for each in moved)
    lower.drop(b"000")
    assert lower.find_slice(slice_text(b"000", 0)) is None


def test_slices_of_another_version_are_not_kept() -> None:
    made, left = tier(), list[bytes]()
    made.leave = lambda each, now: left.append(each.key.text)
    large(made, 0, 3)
    made.write(entry(0, size=5 * SLICE).as_head(SLICE), 0.0)
    for number in range(1, 130):
        made.write(entry(number), 0.0)

    assert slice_text(b"000", 1) not in left


def of_owner(number: int, owner: int) -> SimulatedEntry:
    made = entry(number)
    made.key.owner = owner
    return made


def test_each_worker_writes_a_segment_of_its_own_for_which_room_is_kept() -> None:
    alone, both, fewest = tier(), tier(), [128, 128]
    for number in range(400):
        alone.write(of_owner(number, 0), 0.0)
        both.write(of_owner(number, number % 2), 0.0)
        if number > 200:
            numbers = len(held(alone, range(400))), len(held(both, range(400)))
            fewest = [min(pair) for pair in zip(fewest, numbers, strict=True)]

    assert fewest == [6 * 16 + 1, 5 * 16 + 2]  # of eight segments of sixteen; one is to spare


def test_hot_entries_of_one_worker_go_on_in_the_segment_of_the_worker_that_needs_room() -> None:
    made = tier(*range(4))
    for number in range(17):
        made.write(of_owner(number, 1), 0.0)
    for number in range(17, 115):
        made.write(of_owner(number, 0), 0.0)

    assert held(made, range(17)) == [*range(4), 16]


def test_directories_keep_what_is_theirs_whatever_the_others_have_to_give_up() -> None:
    half = SimulatedDirectoryTerms(512 << 10, 64 << 10, "/a"), SimulatedDirectoryTerms(512 << 10, 64 << 10, "/b")
    made = SimulatedTier(SimulatedTierTerms("ssd", half), lambda digest: 0)
    ring = Rendezvous([b"/a", b"/b"])
    theirs = {place: [n for n in range(800) if ring.owner(entry(n).key.digest) == place] for place in (0, 1)}

    first, *_ = theirs[0]
    made.write(entry(first), 0.0)
    for number in theirs[1]:
        made.write(entry(number), 0.0)

    assert made.has_reclaimed and made.find(b"%03d" % first) is not None
    assert 40 <= len([n for n in theirs[1] if made.find(b"%03d" % n) is not None]) <= 63


def test_slices_come_in_their_turn_when_hot_ones_are_more_than_may_stay() -> None:
    made = SimulatedTier(TERMS, lambda digest: 1)
    for number in range(8):  # half a segment
        made.write(entry(number), 0.0)
    large(made, 8, 7)
    for number in range(16, 130):
        made.write(entry(number), 0.0)

    assert held(made, range(9)) == list(range(8))


def test_what_has_to_go_though_it_is_hot_has_cooled_nevertheless() -> None:
    asked = list[bytes]()

    def cool(digest: bytes) -> int:
        asked.append(digest)
        return 1

    made = SimulatedTier(TERMS, cool)
    for number in range(130):
        made.write(entry(number), 0.0)

    assert asked[:16] == [entry(number).key.digest for number in range(16)]  # eight of them may stay
