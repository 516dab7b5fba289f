"""Several processes in one directory: what one does, the others live with."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from shield.errors import StoreError
from shield.store.directory.claim import Claim, InUseError
from shield.store.directory.directory import DirectoryHealth
from shield.store.directory.files import Files
from shield.store.directory.index import Row, State
from shield.store.directory.reading import GoneError
from shield.store.directory.record import FORMAT
from shield.store.directory.segments import SegmentWriter
from tests.store.faulty_files import FaultyFiles
from tests.store.ground import SMALL, body, content, draft, fetched, key, opened, rebuilt, used_bytes
from tests.store.second import second

pytestmark = pytest.mark.slow


def test_the_capacity_holds_however_many_write(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    with second(tmp_path, worker=1) as one, second(tmp_path, worker=2) as two:
        for round_number in range(12):
            for worker, process in enumerate((one, two), 1):
                process.begins(
                    f"len([directory.commit([draft(f'w{worker}-{round_number}-{{n}}', 9000)]) for n in range(60)])"
                )
            for number in range(60):
                directory.commit([draft(f"w0-{round_number}-{number}", 9000)])
            assert (one.hears(), two.hears()) == ("60", "60")
            assert used_bytes(tmp_path) <= SMALL.capacity

        for worker in range(3):
            name = f"w{worker}-11-59"
            assert content(directory, name) == body(name, 9000)
        rows = dict(directory.index.rows())
        assert sorted(rows) == directory.segments.numbers()
        assert directory.statistics().segment_bytes == sum(row.size for row in rows.values())
    directory.close()


def test_room_that_another_has_taken_meanwhile_is_made_again(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    for number in range(350):
        directory.commit([draft(f"r{number}", 9000)])
    make, create = directory._log.room.make, directory.segments.create
    taken: list[int] = []

    def make_then_lose(size: int) -> None:
        make(size)
        if size and not taken:
            with directory.index.write() as change:  # as another process does
                change.set_row(9999, Row(State.SEALED, 1, SMALL.capacity // 2))

    def create_if_there_is_room(number: int, *, worker: int, epoch: int) -> SegmentWriter:
        counters = directory.index.counters()
        taken.append(counters.segment_bytes + directory.index.size())
        return create(number, worker=worker, epoch=epoch)

    directory._log.room.make = make_then_lose  # type: ignore[method-assign]
    directory.segments.create = create_if_there_is_room  # type: ignore[method-assign]
    while not taken:
        directory.commit([draft(f"s{len(directory.index.rows())}", 9000)])

    assert taken[0] <= SMALL.capacity
    directory.close()


def test_what_another_reclaims_is_read_to_the_end_then_let_go(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 20_000), draft("b", 20_000)])
    directory._log.seal()
    found, stored = directory.lookup(key("b").digest), fetched(directory, "a")
    assert found is not None
    assert stored is not None
    with second(tmp_path) as other:
        other.does("directory.clear()")

        assert directory.segments.numbers() == []
        assert directory.lookup(key("b").digest) is None
        assert directory.fetch(found, key("b")).body == bytearray(body("b", 20_000))  # its file is still open here
        directory.tend()
        with pytest.raises(GoneError):
            directory.fetch(found, key("b"))
        assert directory.read(stored, 5, 20_000) == body("a", 20_000)[5:]
        held = directory.statistics()
        assert held.unlinked == 1
        assert held.held_bytes >= 40_000
        del stored
        assert (directory.statistics().unlinked, directory.statistics().held_bytes) == (0, 0)
    directory.close()


def test_what_another_has_written_again_is_fetched_from_there(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 20_000)])
    directory._log.seal()
    found = directory.lookup(key("a").digest)
    assert found is not None
    with second(tmp_path) as other:
        assert other.does("directory.reclaim_step()") == "True"  # keeps everything
        directory.tend()

        assert directory.fetch(found, key("a")).body == bytearray(body("a", 20_000))
    directory.close()


def test_two_processes_of_one_number_do_no_harm(tmp_path: Path) -> None:
    """As when a worker that still ends in peace is replaced."""
    old = opened(tmp_path)
    old.commit([draft("a", 9000)])
    with second(tmp_path, worker=0) as new:
        assert [row.state for _, row in old.index.rows()] == [State.SEALED]
        assert new.does("directory.reclaim_step()") == "True"

        for number in range(30):
            old.commit([draft(f"old{number}", 9000)])
            new.does(f"directory.commit([draft('new{number}', 9000)]) and None")
        old._log.seal()

        for number in range(30):
            assert content(old, f"new{number}") == body(f"new{number}", 9000)
            assert new.does(f"content(directory, 'old{number}') == body('old{number}', 9000)") == "True"
        assert [number for number, _ in old.index.rows()] == old.segments.numbers()
    old.close()


def test_who_waits_takes_over_from_a_first_one_that_ends_before_it_is_done(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 100)])
    directory.close()
    first = Claim(tmp_path, node="n1", boot_id="b1", files=Files())
    assert first.first
    first.discard_index("and then it ended")
    came: list[Claim] = []
    waiting = threading.Thread(
        target=lambda: came.append(Claim(tmp_path, node="n1", boot_id="b1", files=Files())), daemon=True
    )
    waiting.start()
    waiting.join(0.05)
    assert not came

    os.close(first._fd)

    waiting.join(20)
    assert came[0].first
    came[0].release(clean=False)
    again = rebuilt(opened(tmp_path))
    assert content(again, "a") == body("a", 100)
    again.close()


def test_processes_of_another_version_are_left_alone(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 100)])
    state = (tmp_path / "state").read_text()
    (tmp_path / "state").write_text(state.replace(f'"format": {FORMAT}', '"format": 99'))

    with pytest.raises(InUseError, match="another version"):
        opened(tmp_path, worker=1)

    (tmp_path / "state").write_text(state)
    with directory.index._env.begin(write=True, db=directory.index._tables.meta) as txn:
        txn.put(b"schema", b"99")
    with second(tmp_path, ready=False) as other:
        assert "of another version" in other.ends()[1]
    assert directory.tend() is DirectoryHealth.WELL
    assert content(directory, "a") == body("a", 100)
    directory.close()


def test_who_sees_another_index_in_its_place_leaves(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 100)])
    with second(tmp_path) as other:
        (tmp_path / "index" / "data.mdb").unlink()

        assert directory.tend() is DirectoryHealth.OUT
        directory.close()
        with pytest.raises(StoreError, match="other processes still use an index"):
            opened(tmp_path, worker=0)
        assert other.does("directory.tend()") == "<DirectoryHealth.OUT: 'out'>"
    again = rebuilt(opened(tmp_path))
    assert content(again, "a") == body("a", 100)
    again.close()


@pytest.mark.parametrize("how", ["begun", "done"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_segment_that_another_reclaims_while_it_is_scanned_stays_its(tmp_path: Path, how: str, at: int) -> None:
    class Between(FaultyFiles):
        countdown = 0

        def step(self, name: str) -> None:
            if name == "index before" and self.countdown:
                self.countdown -= 1
                if not self.countdown:
                    with directory.index.write() as change:
                        drained = row._replace(state=State.DRAINING, worker=1)
                        change.set_row(number, None if how == "done" else drained)

    files = Between()
    directory = opened(tmp_path, files=files)
    directory.commit([draft(f"r{number}", 1000) for number in range(40)])
    directory.close()
    (tmp_path / "index" / "data.mdb").unlink()
    directory = opened(tmp_path, files=files)
    ((number, row),) = directory.index.rows()
    files.countdown = at

    directory.rebuild_step()

    assert not files.countdown
    assert rebuilt(directory).statistics().entries == (0 if at == 1 else 40)
    assert [row.state for _, row in directory.index.rows()] == ([] if how == "done" else [State.DRAINING])
    directory.close()


def test_the_last_to_leave_a_removed_directory_says_nothing_to_the_one_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "d"
    old = opened(path)
    old.commit([draft("a", 100)])
    path.rename(tmp_path / "away")
    new = opened(path)
    new.commit([draft("b", 100)])

    with pytest.raises(StoreError, match="removed"):
        old.reclaim_step()
    old.close()

    assert '"clean": false' in (path / "state").read_text()
    assert new.tend() is DirectoryHealth.WELL
    assert content(new, "b") == body("b", 100)
    new.close()
