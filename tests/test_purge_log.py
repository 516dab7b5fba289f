"""The log of purges on disk: kept in every place, whole after kills and losses, and known to all workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shield.errors import StoreError
from shield.purge_log import PurgeLog
from shield.rules.alarms import AlarmKind
from shield.rules.purge_lines import FILE, ORDER_SECONDS, LoggedPurge, PurgeHistory, lines_of
from shield.rules.purging import Filled, MarkKind, PurgeMarks
from shield.shared import Shared
from shield.store.directory.directory import CacheDirectory
from shield.store.memory import MemoryTier
from shield.store.notices import mark_of
from shield.store.tiers import Store
from tests.node import FakeClock
from tests.store.ground import draft, opened, rebuilt
from tests.store.test_marks import tagged

ORDER = LoggedPurge("a-1", 5.0, "deployer", {"paths": 1}, ("/a",), order="{}")


class Node:
    """Its memory, and the logs of its workers."""

    def __init__(self, state: Path | None, directories: list[CacheDirectory]) -> None:
        self.shared = Shared(slots=1 << 10, several=True)
        self.clock = FakeClock()
        self._state = state
        self._directories = directories

    def log(self, worker: int = 0) -> PurgeLog:
        self.marks = PurgeMarks()
        log = PurgeLog(
            self.shared,
            state=self._state,
            marks=self.marks,
            directories=lambda: self._directories,
            clock=self.clock,
            worker=worker,
        )
        log.load()
        return log

    def published(self) -> list[bytes]:
        found = self.shared.removed_since(0)
        assert found is not None
        return [mark.text for notice in found if (mark := mark_of(notice)) is not None]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[CacheDirectory]:
    (tmp_path / "state").mkdir()
    made = opened(tmp_path / "disk")
    yield made
    made.close()


def texts(log: PurgeLog) -> list[bytes]:
    return sorted(mark.text for mark in log.load()[0])


def test_marks_are_published_in_one_step_with_a_sequence_that_only_rises(tmp_path: Path) -> None:
    node = Node(tmp_path, [])
    log = node.log()

    first = log.add_marks(MarkKind.TAG, (b"a", b"b"), soft=False)
    second = log.add_marks(MarkKind.ALL, (b"",), soft=True)

    assert first[0].sequence == first[1].sequence < second[0].sequence == node.shared.purges[0]
    assert node.published() == [b"a", b"b", b""]
    assert second[0].at == node.clock()


@pytest.mark.parametrize("lost", ["state", "disk"])
def test_the_loss_of_one_place_loses_nothing(tmp_path: Path, directory: CacheDirectory, lost: str) -> None:
    node = Node(tmp_path / "state", [directory])
    node.log().add_marks(MarkKind.TAG, (b"a",), soft=False)

    (tmp_path / lost / FILE).unlink()
    again = Node(tmp_path / "state", [directory])

    assert texts(again.log()) == [b"a"]
    for place in ("state", "disk"):
        found = PurgeHistory()
        found.read((tmp_path / place / FILE).read_bytes())
        assert [mark.text for mark in found.marks.values()] == [b"a"]


@pytest.mark.parametrize("harmed", [["state"], ["state", "disk"]])
def test_damaged_copies_are_said_once_and_written_anew(
    tmp_path: Path, directory: CacheDirectory, harmed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(tmp_path / "state", [directory])
    node.log().add_marks(MarkKind.TAG, (b"a",), soft=False)
    assert "damaged" not in caplog.text

    for place in harmed:
        (tmp_path / place / FILE).write_bytes(b"\xff\0\n\n\x80 no line")
    again = Node(tmp_path / "state", [directory])
    known = [texts(again.log(worker)) for worker in (0, 1)]

    assert known == [[b"a"] if len(harmed) == 1 else []] * 2
    said = [record.getMessage() for record in caplog.records if "damaged lines" in record.getMessage()]
    assert [line.partition(": ")[0] for line in said] == [str(tmp_path / place / FILE) for place in harmed]
    assert all("left out: 2;" in line for line in said)


def test_a_directory_obeys_what_it_missed_before_anything_in_it_is_found(
    tmp_path: Path, directory: CacheDirectory
) -> None:
    node = Node(tmp_path / "state", [])
    log = node.log()
    mark = log.add_marks(MarkKind.PREFIX, (b"/a",), soft=False)[0]

    log.join(directory)()

    assert node.marks.verdict(b"s1:/a", b"", 0, Filled()) == mark
    assert texts(Node(None, [directory]).log()) == [b"/a"]


def test_the_node_obeys_marks_that_only_a_directory_knows(tmp_path: Path, directory: CacheDirectory) -> None:
    Node(None, [directory]).log().add_marks(MarkKind.TAG, (b"a",), soft=False)
    node = Node(tmp_path / "state", [])
    log = node.log()

    log.join(directory)()

    assert texts(log) == node.published() == [b"a"]
    assert node.marks.verdict(b"s1:/a", b"a", 0, Filled()) is not None


def test_what_is_in_ram_obeys_marks_that_only_a_directory_knew(tmp_path: Path, directory: CacheDirectory) -> None:
    Node(None, [directory]).log().add_marks(MarkKind.TAG, (b"red",), soft=False)
    node = Node(tmp_path / "state", [])
    node.clock.advance(10.0)
    store = Store(MemoryTier(capacity=1 << 20, max_entry=1 << 20), node.shared)
    log = PurgeLog(node.shared, state=tmp_path / "state", marks=store.marks, directories=list, clock=node.clock)
    log.load()
    log.add_marks(MarkKind.TAG, (b"other",), soft=False)
    store.catch_up()
    entry = tagged("a")
    store.commit(entry)  # perhaps read from another directory, which hadn't heard of that mark either

    log.join(directory)()

    assert store.lookup(entry.key.text) is None
    assert store.marks.verdict(b"s1:/b", b"red", 0, Filled()) is not None


def test_a_directory_that_missed_marks_which_are_forgotten_is_emptied(
    tmp_path: Path, directory: CacheDirectory
) -> None:
    node = Node(tmp_path / "state", [])
    log = node.log()
    directory.commit([draft("a", 10)])
    log.add_marks(MarkKind.TAG, (b"a",), soft=False)
    node.clock.advance(ORDER_SECONDS + 1.0)
    log.trim(node.shared.purges[0])
    assert texts(log) == []

    log.join(directory)()

    assert directory.statistics().entries == 0
    assert directory.swept() == node.shared.purges[0]


def test_so_is_one_whose_index_is_lost_before_its_records_are_known_again(
    tmp_path: Path, directory: CacheDirectory
) -> None:
    node = Node(tmp_path / "state", [])
    log = node.log()
    directory.commit([draft("a", 10)])
    directory.close()
    log.add_marks(MarkKind.TAG, (b"a",), soft=False)
    node.clock.advance(ORDER_SECONDS + 1.0)
    log.trim(node.shared.purges[0])
    (tmp_path / "disk" / "index" / "data.mdb").unlink()
    (tmp_path / "disk" / "state").unlink()
    again = opened(tmp_path / "disk")

    log.join(again)()

    assert rebuilt(again).statistics().entries == 0
    again.close()


def test_a_directory_knows_how_far_sequences_had_come_when_all_logs_are_lost(
    tmp_path: Path, directory: CacheDirectory
) -> None:
    mark = Node(None, [directory]).log().add_marks(MarkKind.TAG, (b"a",), soft=False)[0]
    sweep = directory.sweep(mark.sequence)
    directory.begin_sweep(sweep)
    directory.end_sweep(sweep)
    (tmp_path / "disk" / FILE).unlink()
    node = Node(tmp_path / "state", [])
    node.clock.advance(-3600.0)
    log = node.log()

    log.join(directory)()

    assert node.marks.newest >= mark.sequence, "so that what is stored from now on is taken"
    assert log.add_marks(MarkKind.TAG, (b"b",), soft=False)[0].sequence > mark.sequence


def test_a_mark_that_a_killed_worker_had_not_published_is_published_before_the_next(tmp_path: Path) -> None:
    node = Node(tmp_path, [])
    log = node.log()
    log.add_marks(MarkKind.TAG, (b"a",), soft=False)
    other = Node(tmp_path, []).log()  # it writes what our workers don't learn of
    unpublished = other.add_marks(MarkKind.TAG, (b"b",), soft=False)[0]
    node.shared.purges[1] = unpublished.sequence

    log.add_marks(MarkKind.TAG, (b"c",), soft=False)

    assert node.published() == [b"a", b"b", b"c"]


def test_sequences_rise_though_the_log_was_lost(tmp_path: Path) -> None:
    node = Node(tmp_path, [])
    before = node.log().add_marks(MarkKind.ALL, (b"",), soft=False)[0]
    (tmp_path / FILE).unlink()

    again = Node(tmp_path, [])
    again.clock.advance(1.0)

    assert again.log().add_marks(MarkKind.ALL, (b"",), soft=False)[0].sequence > before.sequence


def test_nothing_is_purged_that_cannot_be_logged_anywhere(tmp_path: Path) -> None:
    node = Node(tmp_path / "absent", [])
    log = node.log()

    with pytest.raises(StoreError, match="nothing was purged"):
        log.add_marks(MarkKind.ALL, (b"",), soft=False)

    assert node.published() == []
    assert log.statistics().failures > 0


def test_a_place_that_failed_is_brought_up_to_date(tmp_path: Path, directory: CacheDirectory) -> None:
    state = tmp_path / "state"
    state.rmdir()
    node = Node(state, [directory])
    log = node.log()
    log.add_marks(MarkKind.TAG, (b"a",), soft=False)
    assert [cause.kind for cause in log.troubles()] == [AlarmKind.PURGES]
    state.mkdir()

    log.trim(0)

    assert not log.troubles()
    assert texts(Node(state, []).log()) == [b"a"]


def test_a_copy_that_gets_long_is_written_anew_without_what_orders_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shield.purge_log._LONG", 100_000)
    log = Node(tmp_path, []).log()
    for number in range(20):
        log.append(LoggedPurge(f"a-{number}", 1_750_000_000.0, "me", {"paths": 1000}, order="x" * 10_000))
        log.complete(f"a-{number}")
    assert (tmp_path / FILE).stat().st_size > 100_000

    log.trim(0)

    assert (tmp_path / FILE).stat().st_size < 20_000
    assert len(Node(tmp_path, []).log().recent(100)) == 20


def test_what_one_worker_could_write_to_one_copy_only_is_not_lost_when_another_trims(
    tmp_path: Path, directory: CacheDirectory
) -> None:
    state = tmp_path / "state"
    node = Node(state, [directory])
    one, two = node.log(0), node.log(1)
    two.append(LoggedPurge("a-0", node.clock(), "me"))
    state.rename(tmp_path / "away")
    two.add_marks(MarkKind.TAG, (b"a",), soft=False)  # to the directory only
    (tmp_path / "away").rename(state)
    one.append(LoggedPurge("a-1", 5.0, "me"))  # so old that it is trimmed

    one.trim(0)

    assert texts(Node(None, [directory]).log()) == [b"a"]


def test_without_a_place_purges_hold_as_long_as_the_node() -> None:
    node = Node(None, [])
    log = node.log()

    log.add_marks(MarkKind.TAG, (b"a",), soft=False)

    assert not log.is_durable
    assert node.published() == [b"a"]


def test_an_order_is_known_to_all_workers_under_its_id(tmp_path: Path) -> None:
    node = Node(tmp_path, [])
    one, two = node.log(0), node.log(1)

    made, is_new = one.append(ORDER)
    assert is_new and made.sequence > 0
    assert two.append(ORDER) == (made, False)
    assert two.find("a-1") == made and two.find("a-2") is None
    two.append(LoggedPurge("a-2", 6.0, "me"))
    one.complete("a-1", 7)

    assert [(each.id, each.completed) for each in two.recent(5)] == [("a-2", False), ("a-1", True)]
    assert [each.id for each in one.recent(1)] == ["a-2"]
    assert [each.removed for each in two.recent(5)] == [None, 7]
    again = PurgeHistory()
    again.read(lines_of(two.recent(5)))
    assert again.orders["a-1"].removed == 7


def test_who_starts_first_carries_out_what_was_interrupted_and_later_ones_what_was_their_own(tmp_path: Path) -> None:
    before = Node(tmp_path, [])
    before.log(0).append(ORDER)
    before.log(1).append(LoggedPurge("a-2", 6.0, "me"))
    before.log(1).append(LoggedPurge("a-3", 6.0, "me"))
    before.log(1).complete("a-3")

    node = Node(tmp_path, [])
    first, second = node.log(0), node.log(1)

    assert [each.id for each in first.interrupted()] == ["a-1", "a-2"]
    assert [each.id for each in second.interrupted()] == ["a-2"]


def test_a_copy_in_the_state_directory_that_lacks_something_is_an_alarm_until_it_is_mended(
    tmp_path: Path, directory: CacheDirectory
) -> None:
    log = Node(tmp_path / "state", [directory]).log()
    assert log.troubles() == []

    (tmp_path / "state" / FILE).unlink(missing_ok=True)
    (tmp_path / "state" / FILE).mkdir()
    log.add_marks(MarkKind.TAG, (b"a",), soft=False)
    (trouble,) = log.troubles()
    assert trouble.kind is AlarmKind.PURGES and trouble.text.endswith("; other copies have them")

    (tmp_path / "state" / FILE).rmdir()
    log.trim(0)
    assert log.troubles() == []


def test_purges_that_no_copy_has_are_an_alarm(tmp_path: Path) -> None:
    log = Node(tmp_path, []).log()
    (tmp_path / FILE).unlink(missing_ok=True)
    (tmp_path / FILE).mkdir()

    with pytest.raises(StoreError):
        log.add_marks(MarkKind.TAG, (b"a",), soft=False)

    assert [each.text for each in log.troubles()] == [
        f"{tmp_path / FILE}: purges can't be logged there; no copy has all of them"
    ]
