"""What is found out about the place of a cache directory, and what of it is said."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from shield.store.upkeep.ground import Ground, Mount, Wish, impossible, mount_of, notes, survey
from tests.store.ground import draft, opened, used_bytes

GIB = 1 << 30
MOUNTINFO = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
28 27 0:30 / /srv rw,relatime shared:1 - xfs /dev/sdb rw
29 28 0:31 / /srv/cache\\040one rw,relatime shared:1 master:2 - nfs4 host:/x rw,vers=4.2
30 28 0:32 / /srv/gone rw - tmpfs tmpfs rw
31 28 0:33 / /srv/gone rw - ext4 /dev/sdc ro
32 28 0:34 / /srv/frozen ro,relatime - ext4 /dev/sdd rw
33 28 0:35 / /srv/back\\134slash rw - fuse.sshfs x rw
garbage
"""
LOCAL = Mount("/", "ext4", False)
PLAIN = Ground(True, LOCAL, 1, 1_000_100, True, 1000 * GIB, 0)
ONE = Wish("fast", Path("/one"), 100 * GIB, GIB)
TWO = Wish("fast", Path("/two"), 200 * GIB, GIB)


def said(*known: tuple[Wish, Ground]) -> list[str]:
    grounds = {wish.path: ground for wish, ground in known}
    return list(
        notes(
            [wish for wish, _ in known],
            user=1_000_100,
            show=lambda count: f"{count // GIB}GiB",
            look=grounds.__getitem__,
        )
    )


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/var/cache", Mount("/", "ext4", False)),
        ("/srv", Mount("/srv", "xfs", False)),
        ("/srvx", Mount("/", "ext4", False)),
        ("/srv/cache one/deep", Mount("/srv/cache one", "nfs4", False)),
        ("/srv/cache", Mount("/srv", "xfs", False)),
        ("/srv/gone/x", Mount("/srv/gone", "ext4", True)),
        ("/srv/frozen", Mount("/srv/frozen", "ext4", True)),
        ("/srv/back\\slash/x", Mount("/srv/back\\slash", "fuse.sshfs", False)),
    ],
)
def test_the_longest_and_last_mount_point_wins(path: str, mount: Mount) -> None:
    assert mount_of(Path(path), MOUNTINFO) == mount


def test_a_system_that_tells_no_mounts_is_no_reason_to_fail(tmp_path: Path) -> None:
    assert survey(tmp_path, tmp_path / "none").mount is None
    assert mount_of(Path("/"), "") is None


def test_this_machine_tells_what_is_mounted(tmp_path: Path) -> None:
    ground = survey(tmp_path)

    assert ground.exists
    assert ground.mount is not None
    assert ground.owner == os.geteuid()
    assert ground.device == tmp_path.stat().st_dev
    assert ground.writable
    assert ground.free_bytes > 0


def test_what_a_directory_takes_is_counted_as_its_own(tmp_path: Path) -> None:
    directory = opened(tmp_path / "d")
    directory.commit([draft(f"r{number}", 9000) for number in range(50)])

    used = survey(tmp_path / "d").used_bytes

    assert used_bytes(tmp_path / "d") * 0.9 < used < used_bytes(tmp_path / "d") * 1.5 + 65536
    directory.close()


def test_of_what_isnt_there_the_nearest_place_above_is_looked_at(tmp_path: Path) -> None:
    ground = survey(tmp_path / "a" / "b")

    assert not ground.exists
    assert (ground.owner, ground.used_bytes) == (os.geteuid(), 0)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self")

    assert survey(tmp_path / "link").mount == survey(Path("/proc/self")).mount


def test_of_a_good_place_nothing_is_said() -> None:
    assert said((ONE, PLAIN)) == []
    assert said((ONE, PLAIN), (TWO, replace(PLAIN, device=2))) == []
    assert said((ONE, replace(PLAIN, free_bytes=GIB, used_bytes=100 * GIB))) == []
    assert said((ONE, replace(PLAIN, mount=None))) == []


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse", "fuse.s3fs", "virtiofs"])
def test_network_file_systems_are_noted(kind: str) -> None:
    (note,) = said((ONE, replace(PLAIN, mount=Mount("/", kind, False))))
    assert note.startswith(f"/one: lies on a network file system ({kind})")


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs", "overlay"])
def test_temporary_file_systems_are_noted(kind: str) -> None:
    (note,) = said((ONE, replace(PLAIN, mount=Mount("/", kind, False))))
    assert note.startswith(f"/one: lies on {kind}, ")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "fuseblk", "f2fs"])
def test_disks_of_this_machine_are_not(kind: str) -> None:
    assert said((ONE, replace(PLAIN, mount=Mount("/", kind, False)))) == []


CASES = {
    "read-only": (
        replace(PLAIN, mount=Mount("/m", "ext4", True), writable=False),
        "/one: its file system is mounted read-only at /m",
    ),
    "another user's": (replace(PLAIN, owner=1_000_007), "/one: belongs to user 1000007, and this is 1000100: "),
    "not writable": (replace(PLAIN, writable=False), "/one: can't be written by user 1000100"),
    "not there": (
        replace(PLAIN, exists=False, owner=0, writable=False),
        "/one: isn't there and can't be made by user 1000100",
    ),
    "too full": (
        replace(PLAIN, free_bytes=60 * GIB, used_bytes=20 * GIB),
        "/one: its file system has 60GiB free, 21",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_the_way_is_noted_once(case: str) -> None:
    ground, start = CASES[case]

    (note,) = said((ONE, ground))

    assert note.startswith(start)


def test_a_place_above_that_is_anothers_is_fine_as_long_as_it_can_be_written() -> None:
    assert said((ONE, replace(PLAIN, exists=False, owner=1_000_007))) == []


def test_two_directories_of_a_tier_on_one_device_are_noted() -> None:
    (note,) = said((ONE, PLAIN), (TWO, PLAIN))

    assert note.startswith("/two: lies on the same file system as /one")


def test_directories_of_two_tiers_may_share_a_device() -> None:
    assert said((ONE, PLAIN), (replace(TWO, tier="slow"), PLAIN)) == []


def test_capacities_that_each_fit_and_together_dont_are_noted() -> None:
    ground = replace(PLAIN, free_bytes=250 * GIB, used_bytes=10 * GIB)

    (note,) = said((ONE, ground), (replace(TWO, tier="slow"), ground))

    assert note.startswith("/one: shares its file system with /two: together they lack 31GiB")


def test_where_one_alone_lacks_room_together_adds_nothing() -> None:
    ground = replace(PLAIN, free_bytes=150 * GIB)

    (note,) = said((ONE, ground), (replace(TWO, tier="slow"), ground))

    assert note.startswith("/two: its file system has 150GiB free")


def test_what_cant_be_looked_into_is_said() -> None:
    def look(path: Path) -> Ground:
        raise PermissionError(13, "Permission denied")

    found = list(notes([ONE], user=1, show=str, look=look))

    assert found == ["/one: can't be examined: Permission denied"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("there", None),
        ("there/below/and/below", None),
        ("file", "it is no directory"),
        ("file/below/and/below", "file is no directory"),
        ("/proc/shield", "nothing can be stored on proc"),
    ],
)
def test_a_directory_that_nobody_could_make_is_told_from_others(tmp_path: Path, path: str, why: str | None) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()

    found = impossible(tmp_path / path)

    assert found == why if why is None else found is not None and found.endswith(why)
