"""What the system says of memory and descriptors."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from shield.store.directory.files import Files


def test_descriptors_are_as_many_as_the_soft_limit_says() -> None:
    assert Files().max_open() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.parametrize(("most", "left"), [("1000", 400), ("max", None), (None, None), ("noise", None)])
def test_memory_is_bounded_by_the_control_group(tmp_path: Path, most: str | None, left: int | None) -> None:
    """Its file pages that nobody used lately can be had."""
    without = Files().available_memory()
    if most is not None:
        (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 600\nfile 300\ninactive_file 300\n")

    available = Files(groups=tmp_path).available_memory()

    if left is not None:
        assert available == left
    else:
        assert available == pytest.approx(without, rel=0.5)


def test_what_should_be_mounted_and_isnt_is_found_above_a_path_however_it_is_written(tmp_path: Path) -> None:
    fstab = tmp_path / "fstab"
    disk = tmp_path / "a disk"
    disk.mkdir()
    (tmp_path / "link").symlink_to(disk)
    fstab.write_text(
        f"UUID=1 / ext4 defaults 0 1\nUUID=2 {tmp_path}/a\\040disk xfs nofail 0 2\nUUID=3 none swap sw 0 0\n"
    )
    files = Files(fstab=fstab)

    assert files.unmounted(disk / "cache") == files.unmounted(tmp_path / "link" / "cache") == str(disk)
    assert files.unmounted(tmp_path / "another") == files.unmounted(tmp_path) == ""
    assert Files(fstab=tmp_path / "none").unmounted(disk) == ""


def test_a_file_system_has_one_name_wherever_on_it_one_looks(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    files = Files()

    assert files.filesystem(tmp_path) == files.filesystem(tmp_path / "d")
    assert files.filesystem(Path("/proc")) == files.filesystem(tmp_path / "none") == ""
    assert files.device(tmp_path / "none" / "at all") == files.device(tmp_path)
