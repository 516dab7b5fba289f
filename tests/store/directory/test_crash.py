"""Whatever ends the process, cuts the power or damages a file: an entry is byte-exact or a miss."""

from __future__ import annotations

import errno
import gc
import random
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from shield.errors import StoreError
from shield.store.directory.claim import Claim
from shield.store.directory.directory import CacheDirectory, DirectoryHealth
from shield.store.directory.files import Files
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.reading import GoneError
from tests.depth import tries
from tests.store.faulty_files import FaultyFiles, KilledError, PowerCut
from tests.store.ground import SMALL, abandon, body, content, draft, fetched, key, large, opened, rebuilt

pytestmark = pytest.mark.slow

TIGHT = DirectoryLimits(capacity=1 << 20, segment_bytes=64 << 10)
NAMES = [f"r{number}" for number in range(24)]
SIZE = 9000
FILLERS = 50


def work(directory: CacheDirectory, acknowledged: dict[str, int], removed: set[str]) -> None:
    """Write each name in two versions, remove some; enough that segments are given up. Notes what was promised."""
    for version in (1, 2):
        directory.commit(large("big", f"v{version}", 3, 3000))
        for at in range(0, len(NAMES), 4):
            names = NAMES[at : at + 4]
            removed.difference_update(names)
            directory.commit([draft(name, SIZE + version, versioned(name, version)) for name in names])
            acknowledged.update(dict.fromkeys(names, version))
        for name in NAMES[version::9]:
            acknowledged.pop(name, None)
            directory.remove([key(name)])
            removed.add(name)
    promised = dict(acknowledged)
    acknowledged.clear()  # from here on the oldest go
    for at in range(0, FILLERS, 5):
        directory.commit([draft(f"x{number}", SIZE) for number in range(at, at + 5)])
    assert promised


def versioned(name: str, version: int) -> bytes:
    return body(f"{name}/{version}", SIZE + version)


def check(directory: CacheDirectory) -> int:
    """Every entry is one of its versions to the byte, or a miss; how many there are."""
    there = 0
    for name in NAMES:
        got = content(directory, name)
        assert got is None or got in (versioned(name, 1), versioned(name, 2)), name
        there += got is not None
    for number in range(FILLERS):
        got = content(directory, f"x{number}")
        assert got is None or got == body(f"x{number}", SIZE)
        there += got is not None
    check_slices(directory)
    return there


def check_slices(directory: CacheDirectory) -> None:
    """What is found of the large object under its head is of the same version."""
    entry = directory.lookup(key("big").digest)
    for number, found in directory.index.slices(key("big").digest):
        if entry is not None and entry.owns(found):
            with suppress(GoneError):
                stored = directory.fetch(found, key("big"), number)
                version = (fetched(directory, "big") or stored).header.record.etag
                assert version is not None
                assert stored.body == bytearray(body(f"big/{version.decode()}/{number}", 3000))


def sample(total: int, most: int, *, seed: int) -> list[int]:
    """So many of the calls at which something may happen."""
    return sorted(random.Random(seed).sample(range(1, total + 1), min(total, most)))


def calls_of(path: Path, error: int | None) -> int:
    files = FaultyFiles(error=error)
    directory = opened(path, TIGHT, files=files)
    work(directory, {}, set())
    directory.close()
    return len(files.calls)


def test_killed_at_any_step(tmp_path: Path) -> None:
    total = calls_of(tmp_path / "whole", None)
    assert total > 300
    for at in sample(total, tries(70), seed=1):
        path = tmp_path / "d"
        files = FaultyFiles(at)
        directory: CacheDirectory | None = None
        acknowledged: dict[str, int] = {}
        removed: set[str] = set()
        with suppress(KilledError):
            directory = opened(path, TIGHT, files=files)
            work(directory, acknowledged, removed)
        if directory is not None:
            abandon(directory)
        del directory

        again = opened(path, TIGHT, boot="b1" if at % 3 else "b2")
        check(rebuilt(again))
        assert [content(again, name) for name in removed] == [None] * len(removed)
        for name, version in acknowledged.items():
            assert content(again, name) in (versioned(name, version), versioned(name, 2))
        again.commit([draft("after", 100)])
        assert content(again, "after") == body("after", 100)
        orphans = set(again.segments.numbers()) ^ {number for number, _ in again.index.rows()}
        assert not orphans
        again.close()
        shutil.rmtree(path)


def test_killed_while_the_index_is_made_again(tmp_path: Path) -> None:
    base = tmp_path / "base"
    directory = opened(base, TIGHT)
    directory.commit([draft(name, SIZE + 1, versioned(name, 1)) for name in NAMES])
    abandon(directory)
    for at in sample(74, tries(20), seed=2):
        path = tmp_path / "d"
        shutil.copytree(base, path)
        files = FaultyFiles(at)
        second: CacheDirectory | None = None
        with suppress(KilledError):
            second = opened(path, TIGHT, boot="b2", files=files)
            rebuilt(second)
        if second is not None:
            abandon(second)
        del second

        third = rebuilt(opened(path, TIGHT, boot="b2"))
        assert [content(third, name) for name in NAMES] == [versioned(name, 1) for name in NAMES]
        third.close()
        shutil.rmtree(path)


def test_power_cut_at_any_time(tmp_path: Path) -> None:
    chance = random.Random(5)
    recovered = 0
    for round_number in range(tries(25)):
        source, target = tmp_path / f"s{round_number}", tmp_path / f"t{round_number}"
        files = PowerCut()
        directory = opened(source, TIGHT, files=files)
        buried: list[str] = []
        for _ in range(chance.randrange(1, 40)):
            names = chance.sample(NAMES, 3)
            directory.commit([draft(name, SIZE + 1, versioned(name, 1)) for name in names])
            buried = [name for name in buried if name not in names]
            if chance.random() < 0.3:
                directory.remove([key(names[0])])
                buried.append(names[0])

        files.cut(source, target, chance)

        abandon(directory)
        again = rebuilt(opened(target, TIGHT, boot="b2"))
        recovered += check(again)
        assert [content(again, name) for name in buried] == [None] * len(buried)
        again.commit([draft("after", 100)])
        assert content(again, "after") == body("after", 100)
        again.close()
    assert recovered > 50


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EROFS])
@pytest.mark.parametrize("lasting", [False, True])
def test_the_system_refuses_any_call(tmp_path: Path, number: int, lasting: bool) -> None:
    total = calls_of(tmp_path / "whole", number)
    assert total > 150
    for at in sample(total, tries(8 if lasting else 20), seed=number):
        path = tmp_path / "d"
        files = FaultyFiles(at, error=number, lasting=lasting)
        directory: CacheDirectory | None = None
        try:
            directory = opened(path, TIGHT, files=files)
            work(directory, {}, set())
        except StoreError:
            pass
        if directory is not None:
            check(directory)
            files.at, files.hit = 0, False
            directory.probe()
            if directory.health is DirectoryHealth.WELL:
                directory.commit([draft("x1", SIZE), draft("x2", SIZE)])
                assert content(directory, "x2") == body("x2", SIZE)
            directory.close()

        again = rebuilt(opened(path, TIGHT))
        check(again)
        again.commit([draft("x4", SIZE)])
        assert content(again, "x4") == body("x4", SIZE)
        again.close()
        shutil.rmtree(path)


def test_bits_flip_in_a_segment(tmp_path: Path) -> None:
    directory = opened(tmp_path, SMALL)
    directory.commit([draft(f"r{number}", 700) for number in range(8)])
    path = directory.segments.path(directory.index.rows()[0][0])
    good = path.read_bytes()
    chance = random.Random(3)
    for _ in range(tries(200)):
        bit = chance.randrange(len(good) * 8)
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)

        got = [content(directory, f"r{number}") for number in range(8)]

        assert all(g is None or g == body(f"r{number}", 700) for number, g in enumerate(got))
        assert got.count(None) <= 1
    directory.close()


@pytest.mark.parametrize("lost", [False, True])
def test_a_segment_is_cut_zeroed_extended_or_shuffled(tmp_path: Path, lost: bool) -> None:
    directory = opened(tmp_path, SMALL)
    directory.commit([draft(f"r{number}", 700) for number in range(8)])
    path = directory.segments.path(directory.index.rows()[0][0])
    directory.close()
    good = path.read_bytes()
    chance = random.Random(4)
    for round_number in range(60):
        at = chance.randrange(len(good))
        other = chance.randrange(0, len(good) // 64) * 64
        here = at // 64 * 64
        bad = [
            good[:at],
            good[:at] + bytes(len(good) - at),
            good + good[64:],
            good[:here] + good[other : other + 1024] + good[here + 1024 :],
        ][round_number % 4]
        path.write_bytes(bad)
        if lost:
            (tmp_path / "index" / "data.mdb").unlink()

        again = rebuilt(opened(tmp_path, SMALL))

        got = [content(again, f"r{number}") for number in range(8)]
        assert all(g is None or g == body(f"r{number}", 700) for number, g in enumerate(got))
        again.close()


def test_what_is_damaged_heals(tmp_path: Path) -> None:
    directory = opened(tmp_path, SMALL)
    directory.commit([draft("a", 700), draft("b", 700)])
    found = directory.lookup(key("a").digest)
    assert found is not None
    path = directory.segments.path(found.segment)
    data = bytearray(path.read_bytes())
    data[found.offset + found.header_length + 5] ^= 1
    path.write_bytes(data)

    assert content(directory, "a") is None
    directory.tend()
    assert directory.lookup(key("a").digest) is None
    assert directory.statistics().damaged == 1

    directory.commit([draft("a", 700)])
    assert content(directory, "a") == body("a", 700)
    assert content(directory, "b") == body("b", 700)
    directory.close()


def test_no_descriptor_is_left_behind(tmp_path: Path) -> None:
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    directory = opened(tmp_path, TIGHT)
    work(directory, {}, set())
    directory.close()
    del directory
    gc.collect()

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_processes(tmp_path: Path, workers: int) -> None:
    """Real processes, real kills, in the middle of writing as fast as they can."""
    chance = random.Random(workers)
    served = 0
    for _ in range(tries(6) // workers):
        running = [_writer(tmp_path, number) for number in range(workers)]
        for process in running:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 40)):  # so many runs committed before the end
                assert process.stdout.readline() == b".\n"
        for process in running:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

        directory = opened(tmp_path, SMALL)
        assert directory.reason == ""
        for digest, _, found in list(directory.index.entries()):
            stored = directory.fetch(found, key(_texts[digest]))
            name = stored.key.text[2:].decode()
            assert stored.body == bytearray(body(name, 5000))
            served += 1
        directory.close()
    assert served > 50


_texts = {key(f"w{worker}-{n}").digest: f"w{worker}-{n}" for worker in range(2) for n in range(3000)}


def _writer(path: Path, worker: int) -> subprocess.Popen[bytes]:
    code = f"from tests.store.directory.test_crash import write_on; write_on({str(path)!r}, {worker})"
    root = Path(__file__).parents[3]
    return subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE)


def write_on(path: str, worker: int) -> None:
    """In a process of its own: commit for ever, one dot a run."""
    claim = Claim(Path(path), node="n1", boot_id="b1", files=Files())
    directory = CacheDirectory(claim, SMALL, worker=worker, files=Files())
    directory.settled()  # or the index would be blamed
    number = 0
    while True:
        drafts = [draft(f"w{worker}-{(number + n) % 3000}", 5000) for n in range(5)]
        directory.commit(drafts)
        number += 5
        sys.stdout.write(".\n")
        sys.stdout.flush()
