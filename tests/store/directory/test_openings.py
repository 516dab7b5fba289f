"""An index that ends the processes that read it is made again."""

from __future__ import annotations

import random
import signal
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from shield.store.directory.claim import CondemnedError
from shield.store.directory.directory import CacheDirectory, DirectoryHealth
from shield.store.directory.reading import GoneError
from shield.store.directory.values import pack_found
from tests.store.ground import body, content, draft, key, large, opened, rebuilt
from tests.store.second import Second, second

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
NAMES = [f"r{number}" for number in range(300)]
READ_ALL = "[directory.lookup(key(f'r{number}').digest) for number in range(300)] and None"
TRUNCATE = "os.truncate(path / 'index' / 'data.mdb', 8192)"


def filled(path: Path) -> None:
    directory = opened(path)
    directory.commit([draft(name, 1000) for name in NAMES])
    directory.close()


def dies(process: Second, over: str) -> int:
    """By which signal."""
    assert process.does(over) == ""
    return -process.ends()[0]


def ended(path: Path, worker: int = 0, over: str = "os.abort()") -> int:
    with second(path, worker=worker) as process:
        return dies(process, over)


def whole(directory: CacheDirectory) -> bool:
    return all(content(directory, name) == body(name, 1000) for name in NAMES)


def test_the_fourth_start_after_three_that_died_serves_from_an_index_made_again(tmp_path: Path) -> None:
    filled(tmp_path)
    for _ in range(3):
        with second(tmp_path, worker=0) as process:
            assert process.does("directory.reason") == "''"
            assert dies(process, "os.abort()") == signal.SIGABRT

    again = opened(tmp_path)

    assert "3 processes in a row ended soon" in again.reason
    assert whole(rebuilt(again))
    again.close()
    once_more = opened(tmp_path)
    assert once_more.reason == ""
    once_more.close()


def test_a_page_that_cannot_be_read_ends_the_process_and_the_index(tmp_path: Path) -> None:
    filled(tmp_path)
    assert ended(tmp_path, over="os.abort()") == signal.SIGABRT
    assert ended(tmp_path, over="os.abort()") == signal.SIGABRT
    with second(tmp_path, worker=0) as process:
        assert process.does(TRUNCATE) == "None"
        assert dies(process, READ_ALL) == signal.SIGBUS

    again = opened(tmp_path)

    assert "3 processes" in again.reason
    assert whole(rebuilt(again))
    again.close()


def test_starts_that_settled_or_ended_in_order_do_not_count(tmp_path: Path) -> None:
    filled(tmp_path)
    for how in ("os.abort()", "os.abort()", "directory.settled()", "os.abort()", "os.abort()", "directory.close()"):
        with second(tmp_path, worker=0) as process:
            assert process.does("directory.reason") == "''"
            if how != "os.abort()":
                process.does(how)
            process.does("os.abort()")

    again = opened(tmp_path)
    assert again.reason == ""
    again.close()


def test_starts_before_the_machine_last_came_up_do_not_count(tmp_path: Path) -> None:
    filled(tmp_path)
    for _ in range(3):
        ended(tmp_path)

    again = opened(tmp_path, boot="b2")

    assert "machine stopped" in again.reason
    again.close()


@pytest.mark.parametrize("writer", [1, 257])  # the second one after an upgrade
def test_a_worker_that_dies_again_and_again_has_all_of_them_leave_and_the_index_made_again(
    tmp_path: Path, writer: int
) -> None:
    filled(tmp_path)
    directory = opened(tmp_path)
    directory.settled()
    for _ in range(3):
        assert ended(tmp_path, worker=writer) == signal.SIGABRT
        assert directory.tend() is DirectoryHealth.WELL

    with pytest.raises(CondemnedError):
        opened(tmp_path, worker=writer)

    assert directory.tend() is DirectoryHealth.OUT
    for worker in (writer, 2):  # the first one is still in there
        with pytest.raises(CondemnedError):
            opened(tmp_path, worker=worker)
    directory.close()
    again = opened(tmp_path)
    assert "worker 1 ended 3 times" in again.reason
    assert whole(rebuilt(again))
    with second(tmp_path, worker=1) as process:
        assert process.does("content(directory, 'r5') == body('r5', 1000)") == "True"
    again.close()


def test_an_index_found_damaged_is_left_and_made_again(tmp_path: Path) -> None:
    filled(tmp_path)
    directory = opened(tmp_path)
    found = directory.lookup(key("r7").digest)
    assert found is not None
    directory.close()
    data = tmp_path / "index" / "data.mdb"
    value = pack_found(found)
    bad = bytearray(value)
    bad[60] ^= 1  # in a lifetime
    data.write_bytes(data.read_bytes().replace(value, bad))
    directory = opened(tmp_path)
    assert directory.reason == ""

    assert directory.lookup(key("r7").digest) is None

    assert directory.health is DirectoryHealth.OUT
    directory.close()
    again = opened(tmp_path)
    assert "damaged" in again.reason
    assert whole(rebuilt(again))
    again.close()


def test_whatever_bit_of_the_index_flips_no_wrong_entry_is_found(tmp_path: Path) -> None:
    """LMDB may end the process over it: so this is another one's work, as far as it comes."""
    directory = opened(tmp_path)
    directory.commit([draft(name, 1000) for name in NAMES])
    directory.commit(large("big", "v1", 40, 500))
    directory.close()
    size = (tmp_path / "index" / "data.mdb").stat().st_size
    chance = random.Random(8)
    bits = [chance.randrange(size * 8) for _ in range(150)]
    deaths = 0
    while bits:
        process = Popen([sys.executable, "-c", SURVIVE, str(tmp_path), repr(bits)], cwd=ROOT, stdout=PIPE)
        said = process.communicate(timeout=100)[0].decode().split()
        assert set(said[1::2]) <= {"right", "refused"}
        deaths += process.returncode < 0
        assert process.returncode <= 0
        del bits[: len(said) // 2 + (process.returncode < 0)]
    assert deaths < 50


SURVIVE = """
import sys
from pathlib import Path
from tests.store.directory.test_openings import survive
survive(Path(sys.argv[1]), eval(sys.argv[2]))
"""


def survive(path: Path, bits: list[int]) -> None:
    """In a process of its own: with each of these bits flipped, say whether all that is found is right."""
    data = path / "index" / "data.mdb"
    good = path / "good"
    if not good.exists():
        good.write_bytes(data.read_bytes())
    for bit in bits:
        bad = bytearray(good.read_bytes())
        bad[bit // 8] ^= 1 << bit % 8
        data.write_bytes(bad)
        (path / "condemned").unlink(missing_ok=True)
        (path / "opening-0").unlink(missing_ok=True)
        directory = opened(path)
        right = all(content(directory, name) in (None, body(name, 1000)) for name in NAMES)
        for number in range(40):
            found = directory.lookup(key("big").digest, number)
            with suppress(GoneError):
                stored = None if found is None else directory.fetch(found, key("big"), number)
                right = right and (stored is None or stored.body == bytearray(body(f"big/v1/{number}", 500)))
        sys.stdout.write(f"{bit} {'refused' if directory.reason else 'right' if right else 'wrong'}\n")
        sys.stdout.flush()
        directory.close()
