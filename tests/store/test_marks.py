"""Marks of purges over entries in RAM, on disk and on their way, and the sweep after which they are forgotten."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from shield.rules.freshness import Freshness
from shield.rules.heads import of_fields
from shield.rules.purging import Filled, MarkKind, PurgeMark, PurgeMarks
from shield.shared import Shared
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.files import Files
from shield.store.directory.index import Found
from shield.store.directory.reclaim import Fate, ReclaimCandidate
from shield.store.disk import softens
from shield.store.entry import Entry
from shield.store.memory import MemoryTier
from shield.store.notices import marking
from shield.store.slices import Slices, Where
from shield.store.sweeping import Sweeper
from shield.store.tiers import Cold, Store
from tests.store.ground import draft, large, opened
from tests.store.samples import entry
from tests.store.worker_ground import stores, until, written

HARD = PurgeMark(5, MarkKind.TAG, b"red", at=1000.0)
SOFT = PurgeMark(5, MarkKind.TAG, b"red", soft=True, at=900.0)


def publish(store: Store, *marks: PurgeMark) -> None:
    shared = store._removals._shared
    shared.publish([marking(mark) for mark in marks], purge=max(mark.sequence for mark in marks))
    store.catch_up()


def tagged(name: str, tags: bytes = b"cats\nred", body: bytes = b"x") -> Entry:
    made = entry(name, body)
    made.tags = tags
    made.freshness.grace = 600.0
    return made


async def find(store: Store, sought: Entry) -> Entry | None:
    found = store.find(sought.key)
    if not isinstance(found, Cold):
        return found
    done: asyncio.Future[Entry | None] = asyncio.get_running_loop().create_future()
    store.read(found, sought.key, done.set_result)
    return await done


def in_ram() -> Store:
    return Store(MemoryTier(capacity=1 << 20, max_entry=1 << 20), Shared(slots=1 << 10))


def test_an_entry_in_ram_falls_under_a_later_mark_and_others_stay() -> None:
    store = in_ram()
    store.commit(tagged("a"))
    store.commit(tagged("b", b"cats"))

    publish(store, HARD)

    assert store.lookup(entry("a").key.text) is None
    assert store.lookup(entry("b").key.text) is not None
    assert store.statistics().memory.entries == 1


def test_what_is_stored_after_a_mark_does_not_fall_under_it() -> None:
    store = in_ram()
    publish(store, HARD)

    store.commit(tagged("a"))

    assert store.lookup(entry("a").key.text) is not None


def test_a_soft_mark_makes_an_entry_stale_since_the_purge_and_only_once() -> None:
    store = in_ram()
    store.commit(tagged("a"))
    publish(store, SOFT)

    found = store.lookup(entry("a").key.text)
    assert found is not None and -602.0 < found.freshness.ttl(901.0) <= 0.0
    store.freshen(found.freshened(found.head, Freshness(950.0, 100.0, 0.0, 0.0)), found)

    again = store.lookup(entry("a").key.text)
    assert again is not None and again.freshness.ttl(1000.0) == 50.0


def test_a_soft_mark_removes_an_absence() -> None:
    store = in_ram()
    absence = entry("a", status=404)
    store.commit(absence)

    publish(store, PurgeMark(5, MarkKind.ALL, soft=True, at=900.0))

    assert store.lookup(absence.key.text) is None


def test_a_fill_from_before_a_mark_is_told_by_its_text_or_its_tags() -> None:
    store = in_ram()
    text, before = entry("a").key.text, store.generation
    publish(store, HARD)

    assert store.was_removed(text, before, b"red")
    assert store.was_removed(text, before, None), "its tags aren't known yet"
    assert not store.was_removed(text, before, b"cats")
    assert not store.was_removed(text, store.generation, None)
    publish(store, PurgeMark(6, MarkKind.PREFIX, b"/a"))
    assert store.was_removed(text, before, b"")


def test_a_sweep_of_ram_gives_the_memory_of_purged_entries_back_a_few_at_a_time() -> None:
    store = in_ram()
    for number in range(10):
        store.commit(tagged(str(number), b"red" if number % 2 else b""))
    publish(store, HARD)

    turns = 0
    while store.sweep_memory(3):
        turns += 1

    assert (turns, store.statistics().memory.entries, store.memory_swept) == (4, 5, 5)


def test_a_worker_that_missed_marks_trusts_nothing_older_until_it_has_read_them_again() -> None:
    shared = Shared(slots=1 << 10, log_bytes=1 << 10)
    store = Store(MemoryTier(capacity=1 << 20, max_entry=1 << 20), shared)
    shared.publish([marking(HARD)], purge=5)
    shared.publish([b"x" * 100] * 20)

    store.catch_up()
    store.commit(tagged("b"))
    assert store.has_lost_marks
    assert store.lookup(entry("b").key.text) is None, "it isn't known what it falls under"

    publish(store, PurgeMark(7, MarkKind.TAG, b"later"))
    store.restore_marks([HARD], 5)
    store.commit(tagged("c"))
    assert not store.has_lost_marks
    assert store.lookup(entry("c").key.text) is not None
    assert sorted(mark.sequence for mark in store.marks) == [5, 7]


@pytest.mark.parametrize("memory", [0, 4 << 20], ids=["disk", "both"])
def test_entries_on_disk_fall_under_marks_with_their_tags(tmp_path: Path, memory: int) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=memory) as (store,):
            for each in (tagged("a"), tagged("b", b"cats")):
                assert store.commit(each)
            await written(store)

            publish(store, HARD)

            assert await find(store, entry("a")) is None
            assert store.plain(entry("a").key, 1000.0) is None
            assert await find(store, entry("b")) is not None
            store.commit(tagged("a"))
            await written(store)
            assert await find(store, entry("a")) is not None

    asyncio.run(run())


def test_an_entry_on_disk_is_stale_by_a_soft_mark_until_it_is_validated(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            assert store.commit(tagged("a"))
            await written(store)
            publish(store, SOFT)

            assert store.plain(entry("a").key, 1000.0) is None
            found = await find(store, entry("a"))
            assert found is not None and found.freshness.ttl(1000.0) < 0.0 and found.tags == b"cats\nred"
            store.freshen(found.freshened(found.head, Freshness(950.0, 100.0, 0.0, 0.0)), found)
            await until(lambda: store.plain(entry("a").key, 1000.0) is not None)
            publish(store, PurgeMark(6, MarkKind.TAG, b"other"))
            assert store.plain(entry("a").key, 1000.0) is not None

    asyncio.run(run())


def test_an_entry_on_its_way_to_a_disk_falls_under_a_mark(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            assert store.commit(tagged("a"))
            publish(store, HARD)

            assert await find(store, entry("a")) is None
            await written(store)
            assert await find(store, entry("a")) is None

    asyncio.run(run())


def test_slices_from_before_a_hard_mark_are_no_part_of_an_entry_from_after_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            head = of_fields(200, ((b"etag", b'"1"'), (b"content-length", b"131072")))
            whole = Entry.large(
                entry("a").key, head, Freshness(0.0, 3600.0, 0.0, 0.0), length=1 << 17, slice_bytes=1 << 16
            )
            whole.tags = b"red"
            before = store.slices(whole)
            assert isinstance(before, Slices)
            for number in (0, 1):
                assert before.commit(number, (bytes(1 << 16),), lambda well: None, still=lambda: True)
            await until(lambda: before.has(1))
            publish(store, HARD)

            after = store.slices(whole)
            assert isinstance(after, Slices)
            assert after.commit(0, (b"n" * (1 << 16),), lambda well: None, still=lambda: True)
            await until(lambda: after.read_nowait(0, 0, 5) == bytearray(b"nnnnn"))

            assert store.slices(whole).read_nowait(1, 0, 5) is Where.MISSING

    asyncio.run(run())


def in_two_slices(tags: bytes, born: float = 0.0) -> Entry:
    head = of_fields(200, ((b"etag", b'"1"'), (b"content-length", b"131072")))
    made = Entry.large(entry("a").key, head, Freshness(born, 3600.0, 0.0, 0.0), length=1 << 17, slice_bytes=1 << 16)
    made.tags = tags
    return made


async def write_slices(store: Store, large_one: Entry, fill: bytes) -> None:
    slices = store.slices(large_one)
    assert isinstance(slices, Slices)
    for number in (0, 1):
        assert slices.commit(number, (fill * (1 << 16),), lambda well: None, still=lambda: True)
    await until(lambda: slices.read_nowait(1, 0, 3) == bytearray(fill * 3))


async def settle_changes(store: Store) -> None:
    """Wait for all that its writer was told."""
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    store.volumes()[0].change(lambda directory: None, done.set_result)
    await done


def test_a_large_entry_is_found_again_once_the_same_version_was_fetched_after_a_purge(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            await write_slices(store, in_two_slices(b"red"), b"o")
            publish(store, HARD)
            assert await find(store, entry("a")) is None
            await settle_changes(store)

            await write_slices(store, in_two_slices(b"red"), b"n")

            assert await find(store, entry("a")) is not None, "before any sweep"

    asyncio.run(run())


def test_slices_whose_tags_are_of_before_a_validation_go_with_their_entry(tmp_path: Path) -> None:
    """Else a purge by a later tag would miss them, and they would be part of what is fetched next."""

    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            await write_slices(store, in_two_slices(b"blue"), b"o")
            before = await find(store, entry("a"))
            assert before is not None
            store.freshen(in_two_slices(b"red", born=500.0), before)
            await settle_changes(store)
            after = await find(store, entry("a"))
            assert after is not None and after.tags == b"red"
            assert store.slices(after).read_nowait(1, 0, 3) == bytearray(b"ooo")

            publish(store, HARD)
            assert await find(store, entry("a")) is None
            assert store.slices(in_two_slices(b"red")).read_nowait(1, 0, 3) is Where.MISSING, "hidden at once"
            await settle_changes(store)
            assert store.slices(in_two_slices(b"red")).read_nowait(1, 0, 3) is Where.MISSING

    asyncio.run(run())


def test_marks_that_are_missed_while_others_are_read_again_are_read_again_too() -> None:
    shared = Shared(slots=1 << 10, log_bytes=1 << 10)
    store = Store(MemoryTier(capacity=1 << 20, max_entry=1 << 20), shared)

    def overrun(mark: PurgeMark) -> None:
        shared.publish([marking(mark)], purge=mark.sequence)
        shared.publish([b"x" * 100] * 20)
        store.catch_up()

    overrun(HARD)
    overrun(PurgeMark(7, MarkKind.TAG, b"later"))
    store.restore_marks([HARD], 5)  # as it was read before the second

    assert store.has_lost_marks
    store.restore_marks([HARD, PurgeMark(7, MarkKind.TAG, b"later")], 7)
    assert not store.has_lost_marks
    assert {mark.kind for mark in store.marks} == {MarkKind.TAG}, "not everything counts as purged"


def test_what_is_read_from_a_disk_while_marks_are_forgotten_may_have_fallen_under_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            store.commit(tagged("a"))
            await written(store)
            publish(store, HARD)
            place = store._disk and store._disk.lookup(entry("a").key.digest)
            assert place
            done: asyncio.Future[Entry | None] = asyncio.get_running_loop().create_future()
            store.read(Cold(place), entry("a").key, done.set_result)
            store.marks.forget(5)

            assert await done is None

    asyncio.run(run())


async def swept(store: Store) -> list[bytes]:
    """The keys that turned out to have fallen under a mark."""
    volume = store.volumes()[0]
    fallen: list[bytes] = []
    store.tell_purged(lambda key, version, mark: fallen.append(key.text))
    loop = asyncio.get_running_loop()
    sweeper = Sweeper(volume, store.marks, loop=loop, tell=store.tell_fallen, rest=0.0)
    assert volume.directory is not None
    sweeper.tick()
    await until(lambda: not sweeper.is_running)
    assert volume.directory.swept() == store.marks.newest
    return fallen


def test_after_a_sweep_the_mark_may_be_forgotten_and_what_fell_under_it_is_gone(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            for each in (tagged("a"), tagged("b", b"cats"), tagged("soft", b"blue")):
                assert store.commit(each)
            await written(store)
            publish(store, HARD)
            publish(store, PurgeMark(6, MarkKind.TAG, b"blue", soft=True, at=900.0))

            assert sorted(await swept(store)) == [entry("a").key.text, entry("soft").key.text]
            store.marks.forget(6)

            assert await find(store, entry("a")) is None
            assert await find(store, entry("b")) is not None
            softened = await find(store, entry("soft"))
            assert softened is not None and softened.freshness.ttl(901.0) < 0.0

    asyncio.run(run())


def test_what_a_sweep_removed_does_not_come_back_with_a_lost_index(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            for each in (tagged("a"), tagged("b", b"cats")):
                assert store.commit(each)
            await written(store)
            publish(store, HARD)
            await swept(store)

    asyncio.run(run())
    (tmp_path / "index" / "data.mdb").unlink()
    (tmp_path / "state").unlink()
    directory = opened(tmp_path)
    while directory.rebuild_step():
        pass

    assert directory.lookup(entry("a").key.digest) is None
    assert directory.lookup(entry("b").key.digest) is not None
    assert (directory.swept(), directory.swept_before()) == (0, 5)
    directory.close()


def _moved_in(directory: CacheDirectory) -> list[Found | None]:
    red, plain = draft("red", 10), draft("plain", 10)
    red.record.tags = b"red"
    return [*directory.commit([red]), *directory.commit([plain])]


def test_nothing_is_added_to_a_swept_directory_that_may_fall_under_the_marks_it_was_swept_of(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            assert store.commit(tagged("first"))
            await written(store)
            publish(store, HARD)
            await swept(store)
            directory = store.volumes()[0].directory
            assert directory is not None
            founds = await asyncio.to_thread(_moved_in, directory)

            assert [found is not None and found.since for found in founds] == [False, 5]
            store.marks.forget(5)
            assert await asyncio.to_thread(_moved_in, directory) == [None, None], "nobody knows any more"

    asyncio.run(run())


def test_a_record_from_before_a_sweep_does_not_undo_what_that_did_to_its_entry(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    found = directory.commit([draft("a", 10)])[0]
    assert found is not None
    key = draft("a", 10).record.key
    later = directory.freshen(key, found, b"HTTP/1.1 200 OK\r\n", found.freshness, since=7)

    assert later is not None and later.since == 7
    assert directory.freshen(key, found, b"HTTP/1.1 200 OK\r\nx: y\r\n", found.freshness, since=3) is None
    assert directory.lookup(key.digest) == later
    directory.close()


def test_a_mark_that_is_published_between_a_lookup_and_its_fill_counts_for_that() -> None:
    store = in_ram()
    store.commit(tagged("a"))
    assert store.lookup(entry("a").key.text) is not None
    store._removals._shared.publish([marking(HARD)], purge=5)

    assert store.was_removed(entry("a").key.text, store.generation, b"red")


def test_an_older_mark_that_turns_up_later_is_obeyed_by_what_was_compared_without_it() -> None:
    store = in_ram()
    publish(store, PurgeMark(9, MarkKind.TAG, b"later"))
    store.commit(tagged("a"))
    while store.sweep_memory(10):
        pass

    publish(store, HARD)

    assert store.lookup(entry("a").key.text) is None


def test_a_sweep_leaves_slices_from_after_the_purge_of_their_entry(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    head, *pieces = large("big", "v", 3, 1000)
    pieces[1].record.since = 7
    directory.commit([head, *pieces])
    marks = PurgeMarks()
    marks.add(PurgeMark(5, MarkKind.ALL))
    sweep = directory.sweep(5)

    directory.begin_sweep(sweep)
    for step in sweep.steps(marks):
        directory.carry_out(sweep, step.fallen, softens)

    assert directory.lookup(head.record.key.digest) is None
    assert [number for number, _ in directory.index.slices(head.record.key.digest)] == [1]
    directory.close()


def test_what_is_purged_does_not_stay_when_its_segment_must_go(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            for each in (tagged("a"), tagged("b", b"cats")):
                store.commit(each)
                store._removals._shared.hit(each.key.digest)
            await written(store)
            publish(store, HARD)
            directory, disk = store.volumes()[0].directory, store._disk
            assert directory is not None and disk is not None
            fates = []
            for each in (tagged("a"), tagged("b", b"cats")):
                found = directory.lookup(each.key.digest)
                assert found is not None
                stored = directory.fetch(found, each.key)
                record = stored.header.record
                fates.append(disk.judge(0)(ReclaimCandidate(found, record, stored.segment, Files(), can_stay=True)))

            assert fates == [Fate.DROP, Fate.KEEP]

    asyncio.run(run())


FRA = PurgeMark(5, MarkKind.ORIGIN, b"fra", at=1000.0, after=980.0)


def filled(name: str, origin: str | None, stored_at: float) -> Entry:
    made = tagged(name)
    made.origin, made.stored_at = origin, stored_at
    return made


FILLED = [filled("wrong", "fra", 985.0), filled("before", "fra", 979.0), filled("other", "iad", 985.0)]
KEPT = ["before", "other"]


async def left(store: Store) -> list[str]:
    return [name for name in ("wrong", *KEPT) if await find(store, entry(name)) is not None]


@pytest.mark.parametrize("memory", [0, 4 << 20], ids=["disk", "both"])
def test_what_was_filled_from_an_origin_since_a_time_falls_under_a_mark_about_it(tmp_path: Path, memory: int) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=memory) as (store,):
            for each in FILLED:
                assert store.commit(each)
            await written(store)
            assert await left(store) == ["wrong", *KEPT]

            publish(store, FRA)

            assert await left(store) == KEPT
            assert store.plain(entry("wrong").key, 1000.0) is None
            store.commit(filled("wrong", "fra", 1001.0))
            await written(store)
            assert await left(store) == ["wrong", *KEPT]

    asyncio.run(run())


@pytest.mark.parametrize("how", ["plain", "read"])
def test_an_entry_that_comes_into_ram_from_a_disk_still_knows_where_it_came_from(tmp_path: Path, how: str) -> None:
    async def run() -> None:
        async with stores(tmp_path) as (store,):
            for each in FILLED:
                assert store.commit(each)
            await written(store)
            store._memory.clear()
            for each in FILLED:
                found = store.plain(each.key, 1000.0) if how == "plain" else await find(store, each)
                assert found is not None
            assert {each.key.text: (each.origin, each.stored_at) for each in store.in_memory()} == {
                each.key.text: (each.origin, each.stored_at) for each in FILLED
            }
            for each in FILLED:  # under a later head, with other tags
                later = each.freshened(each.head, Freshness(990.0, 100.0, 0.0, 0.0))
                later.tags = b"blue"
                assert store.freshen(later, each)
            await written(store)

            publish(store, FRA)

            assert await left(store) == KEPT

    asyncio.run(run())


def test_an_entry_on_its_way_to_a_disk_falls_under_a_mark_about_its_origin(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            for each in FILLED:
                assert store.commit(each)
            publish(store, FRA)

            assert await left(store) == KEPT
            await written(store)
            assert await left(store) == KEPT

    asyncio.run(run())


def test_an_entry_that_goes_to_a_disk_in_slices_falls_under_a_mark_about_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shield.store.pending.WHOLE", 1000)

    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            for each in FILLED:
                made = entry(each.key.text.decode().rpartition("/")[2], bytes(2000), fields=((b"etag", b'"1"'),))
                made.origin, made.stored_at = each.origin, each.stored_at
                assert store.commit(made)
            await written(store)
            assert all([isinstance(found := await find(store, each), Entry) and found.is_large for each in FILLED])

            publish(store, FRA)

            assert await left(store) == KEPT

    asyncio.run(run())


def test_a_mark_about_another_origin_does_not_lose_what_is_being_read(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            for each in FILLED:
                assert store.commit(each)
            await written(store)
            read: dict[str, Entry | None] = {}
            assert store._disk is not None
            for name in ("other", "wrong"):
                place = store._disk.lookup(entry(name).key.digest)
                assert place is not None
                store.read(Cold(place), entry(name).key, partial(read.__setitem__, name))
            publish(store, FRA)
            await until(lambda: len(read) == 2)

            assert read["other"] is not None and read["wrong"] is None

    asyncio.run(run())


def test_a_large_entry_keeps_the_slices_that_came_from_elsewhere(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            head = of_fields(200, ((b"etag", b'"1"'), (b"content-length", b"196608")))
            fresh = Freshness(0.0, 3600.0, 0.0, 0.0)
            whole = Entry.large(entry("a").key, head, fresh, length=3 << 16, slice_bytes=1 << 16)
            whole.origin, whole.stored_at = "iad", 984.0
            slices = store.slices(whole)
            assert isinstance(slices, Slices)
            came = (None, Filled("fra", 985.0), Filled("fra", 970.0))
            for number, each in enumerate(came):
                done = slices.commit(number, (bytes(1 << 16),), lambda well: None, still=lambda: True, filled=each)
                assert done
            await until(lambda: slices.has(2))
            publish(store, FRA)

            found = await find(store, entry("a"))
            assert found is not None and (found.origin, found.stored_at) == ("iad", 984.0)
            again = store.slices(whole)
            assert [again.read_nowait(number, 0, 5) is Where.MISSING for number in range(3)] == [False, True, False]
            assert await swept(store) == [entry("a").key.text]
            store.marks.forget(5)
            again = store.slices(whole)
            assert isinstance(again, Slices) and [again.has(number) for number in range(3)] == [True, False, True]

    asyncio.run(run())


def test_a_sweep_removes_what_falls_under_a_mark_about_an_origin(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            for each in FILLED:
                assert store.commit(each)
            await written(store)
            publish(store, FRA)

            assert await swept(store) == [entry("wrong").key.text]
            store.marks.forget(5)

            assert await left(store) == KEPT

    asyncio.run(run())


def test_a_fill_under_way_is_told_by_its_origin() -> None:
    store = in_ram()
    text, before = entry("a").key.text, store.generation
    publish(store, FRA)

    assert store.was_removed(text, before, b"", "fra")
    assert store.was_removed(text, before, b""), "its origin isn't known yet"
    assert not store.was_removed(text, before, b"", "iad")
    assert not store.was_removed(text, store.generation, b"")
