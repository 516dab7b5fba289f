"""What goes with a segment, what stays, and who is asked."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from shield.errors import StoreError
from shield.messages import Part
from shield.rules.freshness import Freshness
from shield.store.directory.directory import CacheDirectory, DirectoryHealth
from shield.store.directory.index import Index, Row, State
from shield.store.directory.reclaim import Fate, ReclaimCandidate
from shield.store.directory.record import RecordKind
from tests.store.faulty_files import FaultyFiles
from tests.store.ground import (
    body,
    content,
    draft,
    fetched,
    head,
    key,
    large,
    opened,
    piece,
    rebuilt,
)


class Asked:
    """A judge that remembers whom it judged; `fate` is of whom isn't in `fates`."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate
        self.fates: dict[str, Fate] = {}
        self.names: list[str] = []

    def __call__(self, candidate: ReclaimCandidate) -> Fate:
        record = candidate.record
        name = record.key.text.decode()[2:] + (f"/{record.slice}" if record.kind is RecordKind.SLICE else "")
        self.names.append(name)
        return self.fates.get(name, self.fate)


@pytest.fixture
def judge() -> Asked:
    return Asked(Fate.KEEP)


@pytest.fixture
def directory(tmp_path: Path, judge: Asked) -> Iterator[CacheDirectory]:
    directory = opened(tmp_path, judge=judge)
    yield directory
    directory.close()


def reclaimed(directory: CacheDirectory) -> CacheDirectory:
    """The oldest segment is complete, and goes."""
    directory._log.seal()
    assert directory.reclaim_step()
    return directory


def numbers(directory: CacheDirectory, name: str) -> list[int]:
    return [number for number, _ in directory.index.slices(key(name).digest)]


# slices and their heads


def test_a_slice_without_an_entry_goes_unasked(directory: CacheDirectory, judge: Asked) -> None:
    directory.commit([piece("big", "v1", 0, 2, 5000), draft("a", 10)])

    reclaimed(directory)

    assert judge.names == ["a"]
    assert numbers(directory, "big") == []


def test_a_slice_of_another_version_than_its_entry_goes_unasked(directory: CacheDirectory, judge: Asked) -> None:
    # As when a fill of a version that the origin has left behind was slow to end.
    directory.commit([head("big", "v2", 2, 5000), piece("big", "v1", 1, 2, 5000), piece("big", "v2", 0, 2, 5000)])
    assert numbers(directory, "big") == [0, 1]

    reclaimed(directory)

    assert judge.names == ["big/0"]
    assert numbers(directory, "big") == [0]


def test_a_head_stays_unasked_as_long_as_slices_of_it_lie_elsewhere(directory: CacheDirectory, judge: Asked) -> None:
    judge.fate = Fate.DROP
    directory.commit([head("big", "v1", 2, 5000), piece("big", "v1", 0, 2, 5000)])
    directory._log.seal()
    directory.commit([piece("big", "v1", 1, 2, 5000)])

    reclaimed(directory)

    assert judge.names == ["big/0"]
    assert directory.lookup(key("big").digest) is not None
    assert numbers(directory, "big") == [1]
    reclaimed(directory)
    assert judge.names == ["big/0", "big/1"]
    reclaimed(directory)
    assert judge.names == ["big/0", "big/1", "big"]
    assert directory.statistics().entries == 0


def test_a_head_is_judged_after_its_slices_and_stays_with_one_that_stays(
    directory: CacheDirectory, judge: Asked
) -> None:
    directory.commit(large("cold", "v1", 70, 100) + large("warm", "v1", 70, 100))
    judge.fate, judge.fates = Fate.DROP, {"warm/5": Fate.KEEP}

    reclaimed(directory)

    assert judge.names[-1] == "cold"
    assert len(judge.names) == 141
    assert "warm" not in judge.names
    assert numbers(directory, "warm") == [5]
    assert directory.lookup(key("warm").digest) is not None
    assert directory.lookup(key("cold").digest) is None


@pytest.mark.parametrize("kind", ["another version", "in one record"])
def test_an_entry_of_another_body_forgets_the_slices(directory: CacheDirectory, kind: str) -> None:
    directory.commit(large("big", "v1", 3, 5000) + large("other", "v1", 3, 5000))

    directory.commit([head("big", "v2", 3, 5000) if kind == "another version" else draft("big", 15000)])

    assert numbers(directory, "big") == []
    assert numbers(directory, "other") == [0, 1, 2]
    statistics = directory.statistics()
    assert (statistics.entries, statistics.slices) == (5, 3)


def test_a_later_head_of_the_same_body_keeps_the_slices(directory: CacheDirectory) -> None:
    directory.commit(large("big", "v1", 3, 5000))

    directory.commit([head("big", "v1", 3, 5000)])

    assert numbers(directory, "big") == [0, 1, 2]


@pytest.mark.parametrize("newest_first", [True, False])
def test_slices_of_an_older_version_do_not_come_back_with_a_lost_index(
    directory: CacheDirectory, tmp_path: Path, newest_first: bool
) -> None:
    first, second = large("big", "v1", 3, 5000), large("big", "v2", 2, 7500)
    directory.commit(first)
    if newest_first:
        directory._log.seal()
    directory.commit(second)
    directory.commit([*large("whole", "v1", 2, 5000), draft("whole", 77)])
    directory.close()
    (tmp_path / "index" / "data.mdb").unlink()

    again = rebuilt(opened(tmp_path))

    entry = again.lookup(key("big").digest)
    assert entry is not None
    assert numbers(again, "big") == [0, 1]
    assert all(entry.owns(found) for _, found in again.index.slices(key("big").digest))
    assert numbers(again, "whole") == []
    assert content(again, "whole") == body("whole", 77)
    assert again.statistics().slices == 2
    again.close()


def test_slices_are_kept_until_the_rebuild_finds_their_head_and_swept_if_it_does_not(
    directory: CacheDirectory, tmp_path: Path
) -> None:
    directory.commit([head("big", "v1", 2, 5000)])
    directory._log.seal()
    directory.commit([piece("big", "v1", 0, 2, 5000), piece("orphan", "v1", 0, 2, 5000)])
    directory.close()
    (tmp_path / "index" / "data.mdb").unlink()
    again = opened(tmp_path)

    while again.statistics().unscanned:
        again.rebuild_step()
    assert numbers(again, "orphan") == [0]
    again.commit([piece("fresh", "v1", 0, 2, 5000)])  # its head is still to come
    rebuilt(again)

    assert numbers(again, "big") == [0]
    assert numbers(again, "orphan") == []
    assert numbers(again, "fresh") == [0]
    assert not again.rebuild_step()
    again.close()


# the judge


def test_the_judge_may_take_its_time(tmp_path: Path) -> None:
    below = opened(tmp_path / "below")

    def judge(candidate: ReclaimCandidate) -> Fate:
        assert candidate.found == above.lookup(candidate.record.key.digest)  # not forgotten yet
        with above.index.write():  # it would wait for itself if there were another transaction
            pass
        taken = candidate.body()
        assert taken is not None
        below.commit([replace(draft("a", 5000), body=[taken])])
        return Fate.DROP

    above = opened(tmp_path / "above", judge=judge)
    above.commit([draft("a", 5000)])

    reclaimed(above)

    assert content(above, "a") is None
    assert content(below, "a") == body("a", 5000)
    above.close()
    below.close()


def test_a_head_that_comes_while_the_record_is_judged_stays(tmp_path: Path) -> None:
    later = Freshness(2000.0, 1.0, 0.0, 0.0)
    block = b"HTTP/1.1 200 OK\r\nx-new: 1\r\n"

    def judge(candidate: ReclaimCandidate) -> Fate:
        assert above.freshen(candidate.record.key, candidate.found, block, later) is not None
        return Fate.KEEP

    above = opened(tmp_path, judge=judge)
    above.commit([draft("a", 100)])

    reclaimed(above)

    stored = fetched(above, "a")
    assert stored is not None
    assert stored.found.freshness == later
    assert (b"x-new", b"1") in stored.stored_head().fields
    above.close()


def test_a_head_that_comes_while_the_record_is_written_again_stays(tmp_path: Path) -> None:
    class Between(FaultyFiles):
        then: Callable[[], object] | None = None

        def step(self, name: str) -> None:
            if name == "appended" and self.then is not None:
                then, self.then = self.then, None
                then()

    def freshen() -> None:
        found = above.lookup(key("a").digest)
        assert found is not None
        with above.index.write() as change:  # as another process does
            change.replace(key("a").digest, None, found, found._replace(lifetime=7.0, head=b"HTTP/1.1 200 OK\r\n"))

    files = Between()
    above = opened(tmp_path, files=files, judge=Asked(Fate.KEEP))
    above.commit([draft("a", 100)])
    files.then = freshen

    reclaimed(above)

    assert files.then is None
    stored = fetched(above, "a")
    assert stored is not None
    assert stored.found.lifetime == 7.0
    assert stored.head == b"HTTP/1.1 200 OK\r\n"
    above.close()


def test_what_is_removed_while_it_is_judged_is_not_kept(tmp_path: Path) -> None:
    def judge(candidate: ReclaimCandidate) -> Fate:
        with above.index.write() as change:  # as another process does
            change.remove(candidate.record.key.digest, None, sequence=1 << 60)
        return Fate.KEEP

    above = opened(tmp_path, judge=judge)
    above.commit([draft("a", 100)])

    reclaimed(above)

    assert content(above, "a") is None
    above.close()


def test_what_has_moved_is_fetched_from_where_it_is(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 100)])
    found = directory.lookup(key("a").digest)
    assert found is not None

    reclaimed(directory)

    assert directory.fetch(found, key("a")).body == bytearray(body("a", 100))


# what goes wrong


def test_a_failed_reclaim_is_taken_up_again(tmp_path: Path) -> None:
    class Broken(FaultyFiles):
        """From the moment at which a segment was to be unlinked."""

        wants = broken = False

        def unlink(self, path: Path) -> None:
            self.broken = self.wants
            self.step("")
            super().unlink(path)

        def step(self, name: str) -> None:
            if self.broken:
                raise OSError(errno.EIO, "broken")

    files = Broken()
    directory = opened(tmp_path, files=files)
    directory.commit([draft("a", 100)])
    directory._log.seal()
    number = directory.index.rows()[0][0]
    files.wants = True
    with pytest.raises(StoreError, match="reclaiming"):
        directory.reclaim_step()
    files.wants = files.broken = False
    assert directory.probe() is DirectoryHealth.WELL

    assert directory.reclaim_step()

    assert directory.segments.numbers() == []
    assert number not in dict(directory.index.rows())
    directory.close()


def test_what_was_appended_and_not_indexed_takes_no_space_and_does_not_come_back(tmp_path: Path) -> None:
    class Broken(FaultyFiles):
        """The first change of the index after the next append fails."""

        last = ""
        broken = False

        def step(self, name: str) -> None:
            last, self.last = self.last, name
            if self.broken and last == "appended":
                raise OSError(errno.EIO, "broken")

    files = Broken()
    directory = opened(tmp_path, files=files)
    directory.commit([draft("a", 100)])
    files.broken = True
    with pytest.raises(StoreError):
        directory.commit([draft("b", 20_000)])
    files.broken = False
    directory.close()

    index = Index(tmp_path / "index", limit=1 << 20, files=files)
    ((number, row),) = index.rows()
    index.close()
    assert directory.segments.path(number).stat().st_size == row.size
    (tmp_path / "index" / "data.mdb").unlink()
    again = rebuilt(opened(tmp_path))
    assert content(again, "a") == body("a", 100)
    assert content(again, "b") is None
    again.close()


def test_a_full_disk_takes_what_the_judge_would_keep(tmp_path: Path) -> None:
    class Full(FaultyFiles):
        """Once it is full, nothing can be written until a segment is gone."""

        full = False

        def write(self, fd: int, parts: Sequence[Part], offset: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "no space")
            super().write(fd, parts, offset)

        def unlink(self, path: Path) -> None:
            super().unlink(path)
            self.full = self.full and path.suffix != ".segment"

    files = Full()
    directory = opened(tmp_path, files=files, judge=Asked(Fate.KEEP))
    for number in range(20):
        directory.commit([draft(f"r{number}", 20_000)])
    files.full = True

    directory.commit([draft("new", 20_000)])

    assert content(directory, "new") == body("new", 20_000)
    assert content(directory, "r0") is None
    assert directory.health is DirectoryHealth.WELL
    directory.close()


def test_the_spare_that_another_worker_is_making_is_awaited(
    tmp_path: Path, judge: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else this one would give up a segment while it has none open, and what is hot there would be lost."""
    judge.fate, judge.fates = Fate.DROP, {"hot": Fate.KEEP}
    directory = opened(tmp_path, judge=judge)
    room, index, size, other = directory._log.room, directory.index, directory._log.segment_bytes, 1 << 20
    directory.commit([draft("hot", 1000)])
    fillers = (draft(f"f{number}", 9000) for number in range(9999))
    while room.fits(2 * size, index.counters()):  # until there is one to spare
        directory.commit([next(fillers)])
    with index.write() as change:
        change.set_row(other, Row(State.DRAINING, 7, size))

    def pause(seconds: float) -> None:
        with index.write() as change:
            change.set_row(other, None)

    monkeypatch.setattr("shield.store.directory.room._pause", pause)
    while not judge.names:
        directory.commit([next(fillers)])

    assert content(directory, "hot") == body("hot", 1000)
    directory.close()
