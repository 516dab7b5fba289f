"""Who may use a directory, and whether what the last one left can be trusted.

One node at a time: its processes share a lock on the file `lock`, in which the node's name stands. The first of them
looks at `state`: after a clean end, or when the machine has run on since, index and segments agree. Otherwise the
index is thrown away, never read: what the disk holds of it may be any mixture of old and new pages.
"""

from __future__ import annotations

import json
from pathlib import Path
from struct import Struct

import xxhash

from shield.errors import StoreError
from shield.store.files import Files, failed
from shield.store.record import FORMAT, DamagedError
from shield.store.segments import Segments

_FLOOR = Struct("<Q8s")
_LOOK_BACK = 8  # segments read in search of the last epoch, when `state` is lost


class InUseError(StoreError):
    """Another node works in the directory."""


class Claim:
    """One process's part in the lock. `first`: it is alone in here until `share`, and may put things right."""

    def __init__(self, path: Path, *, node: str, boot_id: str, files: Files) -> None:
        """Raises InUseError when another node has it, StoreError when the directory can't be used."""
        self._path = path
        self._node = node
        self._boot_id = boot_id
        self._files = files
        self.index_path = path / "index"
        self.segments_path = path / "segments"
        self.reason = ""  # why the index was thrown away, for people
        try:
            files.make_directory(self.segments_path)
            self._fd = files.open_or_create(path / "lock")
        except OSError as error:
            raise failed("opening", path, error) from error
        try:
            self.first = self._take()
            self.epoch = self._recover() if self.first else int(str((self._state() or {}).get("epoch", 0)))
        except OSError as error:
            files.close(self._fd)
            raise failed("claiming", path, error) from error
        except BaseException:
            files.close(self._fd)
            raise

    def discard_index(self, reason: str) -> None:
        """Throw the index away, to be made again from the records. Only for the first."""
        self.reason = self.reason or reason
        try:
            for name in ("data.mdb", "lock.mdb"):
                if (self.index_path / name).exists():
                    self._files.unlink(self.index_path / name)
        except OSError as error:
            raise failed("discarding", self.index_path, error) from error

    def share(self) -> None:
        """Let other processes of the node in."""
        if self.first:
            self._files.lock(self._fd, exclusive=False, wait=True)
            self.first = False
            # Between the two locks another node may have come in.
            self._check_holder()

    def still_here(self) -> bool:
        """Whether the directory is the one that was claimed: not removed, not mounted over."""
        try:
            device, inode, names = self._files.identity(self._fd)
            other = self._files.open(self._path / "lock")
            try:
                return names > 0 and self._files.identity(other)[:2] == (device, inode)
            finally:
                self._files.close(other)
        except OSError:
            return False

    def floor(self) -> int:
        """The last floor written; 0 when there is none."""
        data = self._read("floor")
        if len(data) != _FLOOR.size:
            return 0
        value, checksum = _FLOOR.unpack(data)
        return int(value) if xxhash.xxh3_64_digest(data[:8]) == checksum else 0

    def set_floor(self, floor: int) -> None:
        """Durable before this returns."""
        value = floor.to_bytes(8, "little")
        self._replace("floor", value + xxhash.xxh3_64_digest(value))

    def release(self, *, clean: bool) -> None:
        """Leave. The last to do so, if the index is durable (`clean`), says so for the next start."""
        try:
            if clean and self._files.lock(self._fd, exclusive=True):
                self._write_state(clean=True)
        except OSError:
            pass  # then the next start doesn't trust it
        finally:
            self._files.close(self._fd)

    def _take(self) -> bool:
        if self._files.lock(self._fd, exclusive=True):
            self._files.truncate(self._fd, 0)
            self._files.write(self._fd, [self._node.encode()], 0)
            return True
        self._files.lock(self._fd, exclusive=False, wait=True)
        self._check_holder()
        return False

    def _check_holder(self) -> None:
        holder = self._read("lock").decode(errors="replace")
        if holder != self._node:
            raise InUseError(f"{self._path} is in use by node {holder or 'unknown'}: one node for each directory")

    def _recover(self) -> int:
        """Decide on what is there, and say that it is in use from now on; the new epoch."""
        state = self._state()
        segments = Segments(self._files, self.segments_path)
        if state is not None and state.get("format") != FORMAT:
            self.discard_index(f"format {state.get('format')} isn't ours ({FORMAT}): the directory is emptied")
            for number in segments.numbers():
                segments.unlink(number)
        elif state is None:
            if segments.numbers() or (self.index_path / "data.mdb").exists():
                self.discard_index("no record of how the last run ended")
        elif state.get("boot") != self._boot_id and not state.get("clean"):
            self.discard_index("the machine stopped while the directory was in use")
        last = _last_epoch(segments) if state is None else int(str(state.get("epoch", 0)))
        self.epoch = last + 1
        self._write_state(clean=False)
        return self.epoch

    def _state(self) -> dict[str, object] | None:
        try:
            state = json.loads(self._read("state"))
        except ValueError:
            return None
        valid = isinstance(state, dict) and isinstance(state.get("epoch"), int)
        return state if valid else None

    def _write_state(self, *, clean: bool) -> None:
        state = {"format": FORMAT, "boot": self._boot_id, "clean": clean, "epoch": self.epoch}
        self._replace("state", json.dumps(state).encode())

    def _read(self, name: str) -> bytes:
        """A small file; b"" when it isn't there."""
        try:
            fd = self._files.open(self._path / name)
        except FileNotFoundError:
            return b""
        try:
            data = bytearray(4096)
            return bytes(data[: self._files.read(fd, [data], 0)])
        finally:
            self._files.close(fd)

    def _replace(self, name: str, data: bytes) -> None:
        """Write a small file anew, all of it or not at all, durably."""
        path, draft = self._path / name, self._path / (name + ".new")
        fd = self._files.open_or_create(draft)
        try:
            self._files.truncate(fd, 0)
            self._files.write(fd, [data], 0)
            self._files.sync(fd)
        finally:
            self._files.close(fd)
        self._files.replace(draft, path)
        self._files.sync_directory(self._path)


def _last_epoch(segments: Segments) -> int:
    """The greatest epoch in the newest segments that can be read; 0 when there is none."""
    epochs = [0]
    for number in reversed(segments.numbers()):
        try:
            epochs.append(segments.open(number).epoch)
        except (OSError, DamagedError):
            continue
        if len(epochs) > _LOOK_BACK:
            break
    return max(epochs)
