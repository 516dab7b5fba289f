"""The right to use a directory, and whether the state left by its last user can be trusted.

One node at a time: its processes share a lock on the file `lock`, which contains the node's name. The first of them
reads `state`: after a clean end, or when the machine has run on since, index and segments agree. Otherwise the
index is discarded unread: on the disk it may be any mixture of old and new pages.

A bad index may also kill its readers, by a page that the disk can't give or that makes no sense to LMDB. So each
process counts its openings in a file of its own, `opening-N`, until it has `settled`: the fourth in a row condemns
the index. A process that finds it condemned leaves, and the first to open it after all have left discards it.
"""

from __future__ import annotations

import errno
import json
import secrets
from contextlib import suppress
from pathlib import Path
from struct import Struct

import xxhash

from shield.errors import StoreError
from shield.shared import Residence, Shared, worker_of
from shield.store.directory.files import Files, failed
from shield.store.directory.home import FILE, Home, Site, StrayError, stray, unpacked
from shield.store.directory.record import FORMAT, DamagedError
from shield.store.directory.segments import Segments

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The errnos of a full disk."""

_NUMBER = Struct("<Q8s")
_LOOK_BACK = 8  # segments read in search of the last epoch, when `state` is lost
_OPENINGS = 3  # in a row that end soon, before the index is blamed
_TRIES = 100
_CONDEMNED = "condemned"
_RESERVE = "reserve"


class InUseError(StoreError):
    """The directory is in use by another node, or by another version of this one."""


class CondemnedError(StoreError):
    """The index must be rebuilt, by the first process to open the directory after all have left it."""


class Claim:
    """One process's share of the lock. `first`: it is alone until `share`, and may repair things."""

    def __init__(self, path: Path, *, node: str, boot_id: str, files: Files, shared: Shared | None = None) -> None:
        """Raises InUseError when another node has the directory, StoreError when it can't be used.

        `shared` remembers the path's home; StrayError when a different directory is there now.
        """
        self._path = self.path = path
        self._node = node
        self._boot_id = boot_id
        self._files = files
        self._shared = shared
        self.index_path = path / "index"
        self.segments_path = path / "segments"
        self.reason = ""  # why the index was discarded, for operators
        self._opening: Path | None = None
        self._check_home()  # before anything is made there
        try:
            files.make_directory(self.segments_path)
            self._fd = files.open_or_create(path / "lock")
        except OSError as error:
            raise failed("opening", path, error) from error
        try:
            self.first = self._take()
            self.epoch = self._recover() if self.first else self._joined()
            self._settle_home()
        except OSError as error:
            files.close(self._fd)
            raise failed("claiming", path, error) from error
        except BaseException:
            files.close(self._fd)
            raise

    def begin(self, worker: int) -> None:
        """Count that this worker opens the index; call before opening. Raises CondemnedError."""
        path = self._path / f"opening-{worker}"
        count = self._openings(path.name)
        if count >= _OPENINGS:  # only for a process that joins: the first one has reset it
            self.condemn(f"worker {worker_of(worker)} ended {count} times soon after it had opened it")
            raise CondemnedError(f"{self._path}: its index will be rebuilt once all processes have left it")
        self._opening = path
        with suppress(OSError):  # a full disk, where this guard matters least
            self._write(path, json.dumps({"boot": self._boot_id, "count": count + 1}).encode())

    def settled(self) -> None:
        """This process has worked with the index for long enough, or ends in order."""
        path, self._opening = self._opening, None
        if path is not None and self.still_here():
            with suppress(OSError):
                self._files.unlink(path)

    def condemn(self, reason: str) -> None:
        """Have the index discarded when all processes have left it."""
        if self.still_here():
            with suppress(OSError):
                self._write(self._path / _CONDEMNED, reason.encode())

    @property
    def condemned(self) -> str:
        """Why the index must be abandoned; empty if it needn't."""
        try:
            return self._read(_CONDEMNED).decode(errors="replace")
        except OSError:
            return ""

    def discard_index(self, reason: str) -> None:
        """Discard the index, to be rebuilt from the records. Only for the first process."""
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
            self._write_state(clean=False, shared=True)
            self._files.lock(self._fd, exclusive=False, wait=True)
            self.first = False
            # Another node may have come in between the two locks.
            self._check_holder()

    def still_here(self) -> bool:
        """Whether this is still the claimed directory: not removed, not unmounted, not mounted over."""
        return not self.absence()

    def absence(self) -> str:
        """Why it is no longer the claimed directory, for operators; empty if it is."""
        try:
            device, inode, names = self._files.identity(self._fd)
            if names > 0 and self._files.inode(self._path / "lock") == (device, inode):
                return ""
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
                return ""  # can't be determined
        try:
            is_elsewhere = self._files.device(self._path) != self._files.identity(self._fd)[0]
        except OSError:
            is_elsewhere = False
        return "its disk was unmounted, or another one mounted over it" if is_elsewhere else "it was removed"

    def renew_reserve(self, size: int) -> None:
        """Keep this much disk space in reserve: on a full disk, giving something up still needs room in the index."""
        path = self._path / _RESERVE
        with suppress(OSError):
            if size <= 0 or (path.exists() and self._files.size(path) == size):
                return
            fd = self._files.open_or_create(path)
            try:
                self._files.allocate(fd, size)
            except OSError:
                self._files.truncate(fd, 0)
            finally:
                self._files.close(fd)

    def spend_reserve(self) -> bool:
        """Give the reserve back; False when there was none."""
        path = self._path / _RESERVE
        try:
            had = self._files.size(path) > 0
            self._write(path, b"")
        except OSError:
            return False
        return had

    def check_here(self) -> None:
        """Raise OSError unless it is: files are named by path, and those of another directory aren't ours."""
        if not self.still_here():
            raise OSError(errno.ENOENT, "the directory was removed")

    def floor(self) -> int:
        """The greatest floor that any worker has written; 0 when there is none."""
        return self._greatest("floor-")

    def set_floor(self, floor: int, *, worker: int) -> None:
        """Durable before this returns. A worker's floor only rises."""
        value = floor.to_bytes(8, "little")
        self._replace(f"floor-{worker}", value + xxhash.xxh3_64_digest(value))

    def swept(self) -> int:
        """The last mark of a purge up to which this directory was swept, by any worker; 0 if it never was."""
        return self._greatest("swept-")

    def set_swept(self, until: int, *, worker: int) -> None:
        """Durable before this returns."""
        value = until.to_bytes(8, "little")
        self._replace(f"swept-{worker}", value + xxhash.xxh3_64_digest(value))

    def release(self, *, clean: bool) -> None:
        """Leave. The last process to do so records for the next start whether the index is durable (`clean`)."""
        try:
            self.settled()
            if clean and self._files.lock(self._fd, exclusive=True) and self.still_here():
                self._write_state(clean=True)
        except OSError:
            pass  # then the next start doesn't trust it
        finally:
            self._files.close(self._fd)

    def _take(self) -> bool:
        for _ in range(_TRIES):
            if self._files.lock(self._fd, exclusive=True):
                if self._read("lock") != self._node.encode():
                    self._files.truncate(self._fd, 0)
                    self._files.write(self._fd, [self._node.encode()], 0)
                return True
            self._files.lock(self._fd, exclusive=False, wait=True)
            self._check_holder()
            if (self._state() or {}).get("shared") is True:
                return False
            # The first process ended before it was done: one of the waiting ones takes over.
        raise StoreError(f"{self._path}: no process has opened it first")

    def _check_holder(self) -> None:
        holder = self._read("lock").decode(errors="replace")
        if holder != self._node:
            raise InUseError(f"{self._path} is in use by node {holder or 'unknown'}: one node for each directory")

    def _joined(self) -> int:
        """The epoch of the processes that already have it open."""
        if self.condemned:
            raise CondemnedError(f"{self._path}: its index will be rebuilt once all processes have left it")
        state = self._state() or {}
        if state.get("format") != FORMAT:
            raise InUseError(f"{self._path} is in use by processes of another version: format {state.get('format')}")
        return int(str(state.get("epoch", 0)))

    def _recover(self) -> int:
        """Judge the state on the disk and mark the directory as in use from now on; returns the new epoch."""
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
        elif (known := self._residence()) is not None and known.doubted:
            self.discard_index("its disk failed while it was in use")
        self._forget_openings()
        last = _last_epoch(segments) if state is None else int(str(state.get("epoch", 0)))
        self.epoch = last + 1
        self._write_state(clean=False)
        return self.epoch

    def _check_home(self) -> None:
        path, files = self._path, self._files
        try:
            home = unpacked(self._read(FILE))
            begun = files.exists(path / "state")
            unmounted = "" if begun else files.unmounted(path)
            site = Site(files.device(path), files.filesystem(path), begun, unmounted)
        except OSError as error:
            raise failed("looking at", path, error) from error
        reason = stray(home, site, self._residence())
        if reason:
            raise StrayError(f"{path}: {reason}; mount it, or confirm that it is meant: shield store adopt {path}")

    def _settle_home(self) -> None:
        """Remember this directory as the one for its path from now on."""
        found = unpacked(self._read(FILE))
        name = secrets.randbits(63) + 1 if found is None else found.name
        if self._shared is not None:
            doubted = not self.first and (known := self._residence()) is not None and known.doubted
            self._shared.reside(bytes(self._path), Residence(name, self._files.identity(self._fd)[0], doubted))
        settled = Home(name, self._files.filesystem(self._path))
        if self.first and settled != found:
            self._replace(FILE, settled.packed())

    def doubt(self, *, doubted: bool = True) -> None:
        """Have the index rebuilt when the directory is opened anew, since its disk may have lost some of it.

        The failing disk can't record this; the node remembers it, until the disk proves sound after all.
        """
        known = self._residence()
        if self._shared is not None and known is not None and known.doubted != doubted:
            self._shared.reside(bytes(self._path), known._replace(doubted=doubted))

    def _residence(self) -> Residence | None:
        return None if self._shared is None else self._shared.residence(bytes(self._path))

    def _forget_openings(self) -> None:
        """Discard the index if it is condemned, or ought to be."""
        names = [name for name in self._files.names(self._path) if name.startswith("opening-")]
        worst = max(map(self._openings, names), default=0)
        condemned = self.condemned
        if worst >= _OPENINGS:
            condemned = condemned or f"{worst} processes in a row ended soon after they had opened it"
        if not condemned:
            return
        self.discard_index(condemned)
        for name in (*names, _CONDEMNED):
            with suppress(FileNotFoundError):
                self._files.unlink(self._path / name)

    def _openings(self, name: str) -> int:
        """How many times in a row since the machine started a worker has opened the index without settling."""
        counted = _fields(self._read(name))
        count = counted.get("count")
        return count if isinstance(count, int) and counted.get("boot") == self._boot_id else 0

    def _greatest(self, prefix: str) -> int:
        """The greatest number in small files whose names begin so."""
        found = [0]
        for data in [self._read(name) for name in self._files.names(self._path) if name.startswith(prefix)]:
            if len(data) == _NUMBER.size:
                value, checksum = _NUMBER.unpack(data)
                found.append(value if xxhash.xxh3_64_digest(data[:8]) == checksum else 0)
        return max(found)

    def _state(self) -> dict[str, object] | None:
        state = _fields(self._read("state"))
        return state if isinstance(state.get("epoch"), int) else None

    def _write_state(self, *, clean: bool, shared: bool = False) -> None:
        state = {"format": FORMAT, "boot": self._boot_id, "clean": clean, "epoch": self.epoch, "shared": shared}
        self._replace("state", json.dumps(state).encode())

    def _read(self, name: str) -> bytes:
        """Contents of a small file; b"" when it is missing."""
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
        """Replace a small file atomically and durably."""
        path, draft = self._path / name, self._path / (name + ".new")
        try:
            self._write(draft, data, durably=True)
        except OSError as error:
            if error.errno not in FULL or not self.spend_reserve():
                raise
            self._write(draft, data, durably=True)
        self._files.replace(draft, path)
        self._files.sync_directory(self._path)

    def _write(self, path: Path, data: bytes, *, durably: bool = False) -> None:
        fd = self._files.open_or_create(path)
        try:
            self._files.truncate(fd, 0)
            self._files.write(fd, [data], 0)
            if durably:
                self._files.sync(fd)
        finally:
            self._files.close(fd)


def _fields(data: bytes) -> dict[str, object]:
    """Fields of a small JSON file; none when it is garbage."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _last_epoch(segments: Segments) -> int:
    """The greatest epoch in the newest readable segments; 0 when there is none."""
    epochs = [0]
    for number in reversed(segments.numbers()):
        try:
            epochs.append(segments.open(number).epoch)
        except (OSError, DamagedError):
            continue
        if len(epochs) > _LOOK_BACK:
            break
    return max(epochs)
