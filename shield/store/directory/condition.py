"""The health of a directory as its calls find it: each error of the system is judged here, and counted."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from shield.errors import StoreError
from shield.rules.key import CacheKey
from shield.store.directory.claim import Claim
from shield.store.directory.files import failed
from shield.store.directory.index import Found, IndexDamagedError, IndexHaltedError
from shield.store.directory.reading import GoneError
from shield.store.directory.record import DamagedError

_LOSSES = frozenset({errno.EROFS, errno.EIO})  # of writes: earlier writes may be lost, too
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
_READ_ERRORS = 8  # in a row that take a directory out of use


class DirectoryHealth(Enum):
    WELL = "well"
    FAILING = "failing"  # can't be written: its entries are served, none are added
    OUT = "out"  # not used until `probe` or a new opening finds it well


class Condition:
    """The condition of one open directory. Any thread."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._read_errors = 0
        self.health = DirectoryHealth.WELL
        self.why = ""  # the reason it isn't well, for operators
        self.errors = 0
        self.damaged: deque[tuple[CacheKey, int | None, Found]] = deque(maxlen=1024)  # to be forgotten
        self.damaged_count = 0

    @contextmanager
    def changing(self, doing: str) -> Iterator[None]:
        """The border of the store: the system's errors become ours, and are counted."""
        if self.health is not DirectoryHealth.WELL:
            raise StoreError(f"{doing} {self._claim.segments_path}: it is {self.health.value}")
        try:
            yield
        except IndexDamagedError as error:
            self.leave(error)
            raise
        except OSError as refused:
            self._refused(refused)
            if refused.errno not in _PASSING and self.health is DirectoryHealth.WELL:
                self.health, self.why = DirectoryHealth.FAILING, f"{doing} it: {refused.strerror or refused}"
            raise failed(doing, self._claim.segments_path, refused) from refused

    @contextmanager
    def hiding(self) -> Iterator[None]:
        """Removing, also while nothing can be written: better out of use than serving removed entries."""
        if self.health is DirectoryHealth.OUT:
            raise StoreError(f"removing from {self._claim.segments_path}: it is out of use")
        try:
            yield
        except (OSError, StoreError) as error:
            self.out(f"removing from it: {error}")
            self._refused(error)
            if isinstance(error, IndexDamagedError):
                self.leave(error)
            raise StoreError(f"removing from {self._claim.segments_path}: {error}") from error

    def _refused(self, error: OSError | StoreError) -> None:
        self.errors += 1
        if isinstance(error, OSError) and error.errno in _LOSSES:
            self._claim.doubt()

    def unreadable(self, error: IndexDamagedError | OSError) -> None:
        """Note the implications of a failed index lookup for the directory."""
        if isinstance(error, IndexDamagedError):
            self.leave(error)
        else:
            self.errors += 1

    def leave(self, error: IndexDamagedError) -> None:
        """Take it out of use; a damaged index is also rebuilt once all processes have left it."""
        self.out(str(error))
        if not isinstance(error, IndexHaltedError):
            self._claim.condemn(str(error))

    def out(self, why: str) -> None:
        self.health, self.why = DirectoryHealth.OUT, why

    def well(self) -> None:
        self.health, self.why, self._read_errors = DirectoryHealth.WELL, "", 0
        self._claim.doubt(doubted=False)

    def has_read(self) -> None:
        self._read_errors = 0

    def gone(self, error: DamagedError | OSError, found: Found, key: CacheKey, slice_number: int | None) -> GoneError:
        """Note the implications of a failed read for the record and the disk."""
        if isinstance(error, OSError) and error.errno in _PASSING:
            self.errors += 1
            return GoneError(f"can't be read now: {error}")
        self.damaged.append((key, slice_number, found))
        if isinstance(error, FileNotFoundError):
            return GoneError("its segment was reclaimed")
        if isinstance(error, OSError):
            self.errors += 1
            self._read_errors += 1
            if self._read_errors >= _READ_ERRORS:
                self.out(f"{self._read_errors} reads in a row failed: {error.strerror or error}")
        else:
            self.damaged_count += 1
        return GoneError(f"{self._claim.segments_path}: {error}")
