"""What workers share: removals reach all of them whole, counts are cheap and bounded."""

from __future__ import annotations

import hashlib
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.shared import LAYOUT, Kept, Residence, Seat, Shared

TEXTS = st.lists(st.binary(max_size=60), max_size=8)


@contextmanager
def shared(*, workers: int = 4, log_bytes: int = 1 << 20) -> Iterator[Shared]:
    made = Shared(workers=workers, slots=1 << 10, log_bytes=log_bytes)
    try:
        yield made
    finally:
        made.close()


def forked(work: Callable[[], object]) -> int:
    """Run it in a forked process, as a worker would."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which other tests may have left
        pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def digest(number: int) -> bytes:
    return hashlib.md5(b"%d" % number).digest()


# heartbeats


def test_a_worker_is_silent_once_it_has_begun_and_given_no_sign_for_a_while() -> None:
    with shared(workers=2) as memory:
        assert not memory.is_silent(1, 100.0, 1.0)  # it has not begun

        assert ended(forked(partial(memory.beat, 1, 100.0))) == 0

        assert memory.last_beat(1) == 100.0
        assert [memory.is_silent(1, now, 1.0) for now in (99.0, 101.0, 101.1)] == [False, False, True]
        assert memory.last_beat(0) == 0.0


# removals


@given(st.lists(TEXTS, max_size=12), st.integers(0, 12))
def test_all_that_was_published_since_a_position_is_told_in_order(batches: list[list[bytes]], after: int) -> None:
    with shared() as log:
        for batch in batches[:after]:
            log.publish(batch)
        seen = log.generation[0]
        for batch in batches[after:]:
            log.publish(batch)

        removed = log.removed_since(seen)

    assert removed == [text for batch in batches[after:] for text in batch]


@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_a_small_log_goes_round_and_tells_all_or_that_it_cannot(batches: list[list[bytes]]) -> None:
    with shared(log_bytes=256) as log:
        seen, newest = log.generation[0], list[bytes]()
        for batch in batches:
            before, after = log.publish(batch)

            assert log.removed_since(before) == (batch if after - before <= 256 else None)
            newest += batch
            assert log.removed_since(seen) == (newest if log.generation[0] - seen <= 256 else None)


def test_between_two_positions_nothing_newer_is_told() -> None:
    with shared() as log:
        seen = log.generation[0]
        log.publish([b"a"])
        now = log.generation[0]
        log.publish([b"b"])

        assert log.removed_since(seen, now) == [b"a"]
        assert log.removed_since(now) == [b"b"]


def test_who_published_knows_from_where_to_where() -> None:
    with shared() as log:
        log.publish([b"a"])
        before, after = log.publish([b"b", b"c"])

        assert log.removed_since(before, after) == [b"b", b"c"]
        assert log.generation[0] == after


def test_to_publish_nothing_changes_nothing() -> None:
    with shared() as log:
        before = log.generation[0]
        log.publish([])

        assert log.generation[0] == before


def test_the_marks_of_a_purge_are_published_with_its_sequence() -> None:
    with shared() as log:
        seen = log.generation[0]
        log.publish([b"a", b"b"], purge=7)
        log.publish([b"c"])

        assert (log.removed_since(seen), log.purges[0]) == ([b"a", b"b", b"c"], 7)


def test_removals_of_one_process_reach_the_others() -> None:
    with shared() as log:
        seen = log.generation[0]

        assert ended(forked(lambda: log.publish([b"a", b"b"]))) == 0

        assert log.generation[0] != seen
        assert log.removed_since(seen) == [b"a", b"b"]


def test_several_processes_that_publish_at_once_lose_nothing() -> None:
    with shared() as log:

        def publish(worker: int) -> None:
            for number in range(500):
                log.publish([b"%d-%d-first" % (worker, number), b"%d-%d-second" % (worker, number)])

        codes = [ended(pid) for pid in [forked(partial(publish, worker)) for worker in range(4)]]
        removed = log.removed_since(0)

    assert codes == [0] * 4
    assert removed is not None
    for worker in range(4):
        mine = [text for text in removed if text.startswith(b"%d-" % worker)]
        assert mine == [b"%d-%d-%b" % (worker, n, half) for n in range(500) for half in (b"first", b"second")]


def test_a_reader_under_a_writer_that_goes_round_never_gets_a_torn_text() -> None:
    text = b"x" * 100
    with shared(log_bytes=1024) as log:

        def publish() -> None:
            for number in range(20_000):
                log.publish([b"%08d" % number + text])

        writer = forked(publish)
        seen, last, over = 0, -1, False
        while not over or seen != log.generation[0]:
            over = over or os.waitpid(writer, os.WNOHANG)[0] == writer
            now = log.generation[0]
            for one in log.removed_since(seen, now) or ():
                assert one[8:] == text
                assert int(one[:8]) > last
                last = int(one[:8])
            seen = now

    assert over


def test_bytes_that_were_overwritten_meanwhile_are_not_told() -> None:
    with shared(log_bytes=256) as log:
        seen = log.generation[0]
        _, now = log.publish([b"first" + b"." * 51])  # a quarter of the log, so that whole records lie on another
        for number in range(4):
            log.publish([b"later%d" % number + b"." * 50])

        assert log.removed_since(seen, now) is None


def test_a_writer_that_was_killed_leaves_the_log_usable() -> None:
    with shared() as log:

        def die() -> None:
            log._write = lambda *args: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
            log.publish([b"lost"])

        seen = log.generation[0]
        assert ended(forked(die)) == -signal.SIGKILL
        log.publish([b"a"])

        assert log.removed_since(seen) == [b"a"]


# hit counts


def test_hits_are_counted_up_to_three_and_fade_when_cooled() -> None:
    with shared() as counts:
        assert [counts.hit(digest(1)) for _ in range(5)] == [1, 2, 3, 3, 3]
        assert [counts.cool(digest(1)) for _ in range(5)] == [3, 2, 1, 0, 0]
        assert counts.hit(digest(1)) == 1


def test_hits_of_one_process_count_in_the_others() -> None:
    with shared() as counts:
        assert ended(forked(lambda: counts.hit(digest(7)))) == 0

        assert counts.cool(digest(7)) == 1


def test_counts_of_other_keys_stay_and_the_log_does_too() -> None:
    with shared() as counts:
        seen = counts.generation[0]
        counts.publish([b"a"])
        for number in range(2000):
            counts.hit(digest(number))

        assert counts.removed_since(seen) == [b"a"]
        assert counts.cool(b"\xff" * 16) in (0, 1, 2, 3)
        assert set(counts.standing) == {0}


def test_keys_of_one_owner_use_all_counts() -> None:
    """The first two bytes of a digest, alike in all keys that a worker owns, say nothing here."""
    with shared() as counts:
        for number in range(100):
            counts.hit(b"\0\0" + digest(number)[2:])

        assert sum(counts.hit(b"\0\0" + digest(number)[2:]) == 2 for number in range(100)) > 60


@pytest.mark.parametrize(("workers", "slots"), [(0, 1024), (257, 1024), (1, 1000)])
def test_sizes_that_cannot_be_are_refused(workers: int, slots: int) -> None:
    with pytest.raises(ValueError, match="slots"):
        Shared(workers=workers, slots=slots)


# for another program


def test_a_program_that_takes_over_finds_all_that_is_in_the_memory() -> None:
    with shared(workers=2) as memory:
        memory.publish([b"gone"])
        memory.hit(digest(1))
        memory.standing[1] = 1
        memory.beat(1, 5.0)
        memory.reside(b"/a", Residence(1, 2))
        # Another size is wanted now: that of the memory stays.
        other = Shared(workers=2, slots=1 << 12, kept=memory.kept)
        other.publish([b"also gone"])

        assert other.removed_since(0) == [b"gone", b"also gone"] == memory.removed_since(0)
        assert other.hit(digest(1)) == 2
        assert (other.standing[1], other.last_beat(1)) == (1, 5.0)
        assert other.residence(b"/a") == Residence(1, 2)


@pytest.mark.parametrize(
    ("at", "data", "said"),
    [
        (0, b"another", "it is no memory of a node"),
        (8, b"\xff\0\0\0", f"it has layout 255, and this version has {LAYOUT}"),
        (24, b"\x03" + bytes(7), "its sizes can't be"),
        (16, b"\x08" + bytes(7), "bytes instead of"),
    ],
)
def test_a_memory_of_another_layout_is_refused(at: int, data: bytes, said: str) -> None:
    with shared(workers=2) as memory:
        os.pwrite(memory.kept.memory, data, at)

        with pytest.raises(ValueError, match=said):
            Shared(workers=2, kept=memory.kept)


def test_what_is_no_memory_is_refused() -> None:
    reader, writer = os.pipe()
    with pytest.raises(ValueError, match="it is no memory of a node"):
        Shared(workers=2, kept=Kept(reader, writer))
    os.close(reader)
    os.close(writer)


def test_two_processes_of_one_worker_write_under_numbers_of_their_own() -> None:
    writers = [Seat(worker, 256, tenant=tenant).writer for worker in range(256) for tenant in (0, 1)]

    assert len(set(writers)) == 512
    assert max(writers) < 1 << 16


# streams


def test_what_each_worker_writes_out_stays_together(tmp_path: Path) -> None:
    with shared() as turns, (tmp_path / "log").open("ab", buffering=0) as stream:

        def write(worker: int) -> None:
            for _ in range(50):
                with turns.writing_out():
                    for _ in range(20):
                        stream.write(b"%d" % worker)

        codes = [ended(pid) for pid in [forked(partial(write, worker)) for worker in range(4)]]
    written = (tmp_path / "log").read_bytes()

    assert codes == [0] * 4
    assert {written[at : at + 20] for at in range(0, len(written), 20)} == {b"%d" % n * 20 for n in range(4)}


# where cache directories were at home


def test_where_a_directory_was_at_home_is_known_to_all_workers() -> None:
    with shared() as memory:
        assert memory.residence(b"/a") is None
        assert ended(forked(lambda: memory.reside(b"/a", Residence((1 << 64) - 1, 7, doubted=True)))) == 0
        memory.reside(b"/b", Residence(1, 2))
        memory.reside(b"/b", Residence(3, 4))

        assert memory.residence(b"/a") == Residence((1 << 64) - 1, 7, doubted=True)
        assert memory.residence(b"/b") == Residence(3, 4)
        assert memory.removed_since(0) == []


def test_more_directories_than_there_is_room_for_are_forgotten_and_harm_nobody() -> None:
    with shared() as memory:
        for number in range(300):
            memory.reside(b"/%d" % number, Residence(number + 1, 1))

        known = [memory.residence(b"/%d" % number) for number in range(300)]

    assert known[:256] == [Residence(number + 1, 1) for number in range(256)]
    assert set(known[256:]) == {None}
