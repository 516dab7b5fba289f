"""Which directory at a path is the one that is meant: the node's own, never a bare mount point."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shield.shared import Residence, Shared
from shield.store.directory.claim import Claim
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.files import Files
from shield.store.directory.home import FILE, Home, Site, StrayError, stray, unpacked
from shield.store.upkeep.visit import adopt
from tests.store.ground import SMALL, content, draft

ROOT, DISK = 1, 2


def site(device: int = DISK, filesystem: str = "ext4 1", *, begun: bool = True, unmounted: str = "") -> Site:
    return Site(device, filesystem, begun, unmounted)


@pytest.mark.parametrize(
    ("home", "there", "known"),
    [
        (None, site(begun=False), None),  # a new one
        (None, site(), None),  # of a version before directories had a name
        (None, site(unmounted="/mnt"), None),  # its node's own choice, then
        (Home(7, "ext4 1"), site(), None),
        (Home(7, "ext4 1"), site(filesystem=""), None),  # which nothing names here
        (Home(7), site(), None),
        (Home(7, "ext4 1"), site(), Residence(7, DISK)),
        (Home(7, "ext4 1"), site(device=9), Residence(7, DISK)),  # mounted again under another number
        (None, site(begun=False), Residence(7, DISK)),  # removed, and made anew on the same disk
        (Home(8, "ext4 1"), site(), Residence(7, DISK)),
        (Home(8, "ext4 2", adopted=True), site(device=ROOT), Residence(7, DISK)),
        (Home(8, "ext4 2", adopted=True), site(device=ROOT), None),
    ],
)
def test_what_is_where_it_was_or_may_be_is_used(home: Home | None, there: Site, known: Residence | None) -> None:
    assert stray(home, there, known) == ""


@pytest.mark.parametrize(
    ("home", "there", "known", "why"),
    [
        (None, site(device=ROOT, begun=False), Residence(7, DISK), "unmounted"),
        (Home(8, "ext4 2"), site(device=ROOT), Residence(7, DISK), "unmounted"),  # used by mistake, once
        (None, site(device=ROOT, begun=False, unmounted="/mnt"), None, "/mnt, and it isn't mounted"),
        (Home(7, "ext4 1"), site(filesystem="ext4 2"), None, r"\(ext4 1\) than it is on \(ext4 2\)"),
    ],
)
def test_what_is_elsewhere_is_not_used(home: Home | None, there: Site, known: Residence | None, why: str) -> None:
    assert re.search(why, stray(home, there, known))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b'{"name": 0, "filesystem": "", "adopted": false}', b"null"]
)
def test_a_damaged_home_says_nothing(data: bytes) -> None:
    assert unpacked(data) is None
    assert unpacked(Home(7, "x", adopted=True).packed()) == Home(7, "x", adopted=True)


class Mounts(Files):
    """A system on which a path is on whatever device is mounted there now."""

    def __init__(self, path: Path, fstab: Path) -> None:
        super().__init__(fstab=fstab)
        self.path = path
        self.mounted = ROOT

    def mount(self, number: int) -> None:
        """Have another file system at the path: what was there is out of sight until it is mounted again."""
        aside = self.path.with_name(f"aside-{self.mounted}")
        if self.path.exists():
            self.path.rename(aside)
        if (there := self.path.with_name(f"aside-{number}")).exists():
            there.rename(self.path)
        self.mounted = number

    def device(self, path: Path) -> int:
        return self.mounted

    def filesystem(self, path: Path) -> str:
        return f"ext4 {self.mounted}"

    def identity(self, fd: int) -> tuple[int, int, int]:
        return self.mounted, *super().identity(fd)[1:]

    def inode(self, path: Path) -> tuple[int, int]:
        return self.mounted, super().inode(path)[1]


@pytest.fixture
def files(tmp_path: Path) -> Mounts:
    return Mounts(tmp_path / "cache", tmp_path / "fstab")


@pytest.fixture
def shared() -> Iterator[Shared]:
    made = Shared(workers=2, slots=1 << 10)
    yield made
    made.close()


def opened(files: Mounts, shared: Shared | None) -> CacheDirectory:
    claim = Claim(files.path, node="n1", boot_id="b1", files=files, shared=shared)
    try:
        return CacheDirectory(claim, SMALL, files=files)
    except BaseException:
        claim.release(clean=False)
        raise


def test_a_bare_mount_point_is_refused_and_stays_bare_until_the_disk_is_back(files: Mounts, shared: Shared) -> None:
    files.mount(DISK)
    directory = opened(files, shared)
    directory.commit([draft("a", 100)])
    directory.close()
    files.mount(ROOT)
    files.path.mkdir()

    with pytest.raises(StrayError, match=f"unmounted; mount it, or .*: shield store adopt {files.path}"):
        opened(files, shared)

    assert list(files.path.iterdir()) == []
    files.path.rmdir()
    with pytest.raises(StrayError, match="unmounted"):  # nor is it made
        opened(files, shared)
    assert not files.path.exists()
    files.mount(DISK)
    directory = opened(files, shared)
    assert content(directory, "a") is not None
    directory.close()


def test_another_disk_is_used_once_it_is_adopted_and_the_first_one_isnt_any_more(
    files: Mounts, shared: Shared
) -> None:
    files.mount(DISK)
    opened(files, shared).close()
    files.mount(3)
    files.path.mkdir()
    with pytest.raises(StrayError):
        opened(files, shared)

    adopt(files.path)

    opened(files, shared).close()
    opened(files, shared).close()
    home = unpacked((files.path / FILE).read_bytes())
    assert home is not None
    assert not home.adopted
    files.mount(DISK)
    with pytest.raises(StrayError, match="unmounted"):
        opened(files, shared)


def test_a_directory_copied_to_another_file_system_needs_the_operators_word(files: Mounts) -> None:
    files.mount(DISK)
    opened(files, None).close()
    files.mounted = 3  # with all that is in it

    with pytest.raises(StrayError, match=r"claimed on another file system \(ext4 2\) than it is on \(ext4 3\)"):
        opened(files, None)

    adopt(files.path)
    opened(files, None).close()
    opened(files, None).close()


def test_where_the_system_should_have_mounted_something_no_directory_is_begun(
    files: Mounts, shared: Shared, tmp_path: Path
) -> None:
    (tmp_path / "fstab").write_text(f"# disks\n\n/dev/sdb1 {files.path} ext4 nofail 0 2\n")
    files.path.mkdir()

    with pytest.raises(StrayError, match=f"/etc/fstab has a file system at {files.path}, and it isn't mounted"):
        opened(files, shared)

    assert list(files.path.iterdir()) == []
    (tmp_path / "fstab").write_text(
        f"/dev/sdb1 {files.path} ext4 noauto 0 2\n/dev/sdc1 /elsewhere ext4 defaults 0 2\n"
    )
    opened(files, shared).close()
