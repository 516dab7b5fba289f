"""A real file system of its own, on a loop device: for what only a mounted disk does. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class LoopDisk:
    """An ext4 file system in a file, mounted at `point`."""

    def __init__(self, image: Path, point: Path) -> None:
        self.point = point
        self._image = image
        self.device = ""

    def attach(self) -> None:
        self.device = _run("losetup", "--find", "--show", str(self._image))

    def mount(self) -> None:
        _run("mount", "-t", "ext4", "-o", "errors=remount-ro", self.device, str(self.point))

    def unmount_lazily(self) -> None:
        """Out of sight at once; gone when nothing of it is open any more."""
        _run("umount", "--lazy", str(self.point))

    def is_held(self) -> bool:
        """Whether anything still uses the file system, mounted in sight or not."""
        return Path(f"/sys/fs/ext4/{Path(self.device).name}").exists()

    def sync(self) -> None:
        """Have all that was written on the disk."""
        _run("sync", "--file-system", str(self.point))

    def fail(self) -> None:
        """As the kernel does after an error of the device: nothing can be written from now on, nor remounted."""
        Path(f"/sys/fs/ext4/{Path(self.device).name}/trigger_fs_error").write_text("a test")

    def repair(self) -> None:
        """What its administrator does, once it is unmounted."""
        done = subprocess.run(["e2fsck", "-fy", self.device], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr

    def detach(self) -> None:
        while os.path.ismount(self.point):
            _run("umount", "--lazy", str(self.point))
        if self.device:
            _run("losetup", "--detach", self.device)


@contextmanager
def loop_disk(directory: Path, *, size: int = 96 << 20) -> Iterator[LoopDisk]:
    """Mounted, and gone afterwards. Skips the test where there is no such thing to be had."""
    tools = ("losetup", "mount", "umount", "mkfs.ext4", "e2fsck")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"mounting a disk needs root, and {', '.join(tools)}")
    image, point = directory / "image", directory / "mnt"
    image.touch()
    os.truncate(image, size)
    point.mkdir()
    disk = LoopDisk(image, point)
    try:
        try:
            _run("mkfs.ext4", "-q", str(image))
            disk.attach()
            disk.mount()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no loop device can be mounted here: {error.stderr}")
        yield disk
    finally:
        disk.detach()


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
