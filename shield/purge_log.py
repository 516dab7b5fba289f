"""The log of purges: marks, so that nothing purged comes back, and orders, so that each is carried out once.

It is kept in the state directory, if there is one, and in every cache directory in use: a copy each, and none has to
be whole. What any of them says counts (`rules.purge_lines`). Without any place it lives in memory, as long as the
node.

All methods block, and may be called by any thread; one at a time, over all workers, writes.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from shield.complaints import Complaints
from shield.errors import StoreError
from shield.rules.alarms import AlarmCause, AlarmKind
from shield.rules.purge_lines import FILE, LoggedPurge, PurgeHistory, line_of_end, lines_of
from shield.rules.purging import MarkKind, PurgeMark, PurgeMarks
from shield.shared import Shared
from shield.store.directory.directory import CacheDirectory
from shield.store.notices import marking

log = logging.getLogger("shield.store")

_NEWEST, _ASSIGNED, _LOADED = 0, 1, 2  # words of `Shared.purges`
_MICROSECONDS = 1_000_000
_DAMAGED = "%s: damaged lines, which are left out: %d; purges that no other copy has are forgotten"
_LONG = 32 << 20  # bytes of a copy; marks and orders that are remembered need less, unless a directory is long out


@dataclass(frozen=True, slots=True)
class PurgeLogStatistics:
    """`places`: copies that are written; `failures`: writes to one of them that failed."""

    places: int
    orders: int
    marks: int
    failures: int


@dataclass(frozen=True, slots=True)
class LogPlace:
    """One copy. `check` raises OSError if another directory is there now."""

    path: Path
    check: Callable[[], None] = lambda: None

    def read(self) -> bytes:
        """All of it; nothing if it isn't there. Raises OSError."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def is_long(self) -> bool:
        """Whether it may well be shorter: an order that was carried out needn't keep all that it named."""
        try:
            return self.path.stat().st_size > _LONG
        except OSError:
            return False

    def append(self, data: bytes) -> None:
        """Durable once this returns. Raises OSError."""
        self.check()
        is_new = not self.path.exists()
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _write(fd, b"\n" + data)  # begins anew after a line that was torn
        if is_new:
            _sync_directory(self.path.parent)

    def replace(self, data: bytes) -> None:
        """As `append`, in place of all of it."""
        self.check()
        draft = self.path.with_suffix(".new")
        fd = os.open(draft, os.O_WRONLY | os.O_TRUNC | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _write(fd, data)
        draft.replace(self.path)
        _sync_directory(self.path.parent)


class PurgeLog:
    """Of one worker, whose marks are `marks`. `directories` returns the cache directories in use. `state`: the state
    directory, if there is one.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        state: Path | None,
        marks: PurgeMarks,
        directories: Callable[[], Sequence[CacheDirectory]],
        clock: Callable[[], float],
        worker: int = 0,
    ) -> None:
        self._shared = shared
        self._state = state
        self._directories = directories
        self._marks = marks
        self._clock = clock
        self._worker = worker
        self._alone = threading.Lock()
        self._history = PurgeHistory()
        self._read_until: tuple[Path, int, int] | None = None  # of which file, by its inode, and how far
        self._behind: set[Path] = set()  # copies that lack something
        self._complaints = Complaints(log)
        self._failures = 0
        self._is_first = False  # of the node's workers to read it

    @property
    def is_durable(self) -> bool:
        """Whether there is any place on a disk."""
        return bool(self._places())

    @property
    def wants_upkeep(self) -> bool:
        """Whether `trim` is to be called: by one worker, and by those that found a copy that lacks something."""
        return self._worker == 0 or bool(self._behind)

    def statistics(self) -> PurgeLogStatistics:
        """Any thread; what this worker has read so far."""
        history = self._history
        return PurgeLogStatistics(len(self._places()), len(history.orders), len(history.marks), self._failures)

    def troubles(self) -> list[AlarmCause]:
        """What people are woken for: the copy in the state directory lacks something that couldn't be written, or all
        copies do. Any thread.
        """
        paths = [place.path for place in self._places()]
        behind = [path for path in paths if path in self._behind]
        if not behind or (len(behind) < len(paths) and self._state not in [path.parent for path in behind]):
            return []  # a cache directory's own failure is told of by itself
        rest = "no copy has all of them" if len(behind) == len(paths) else "other copies have them"
        return [AlarmCause(AlarmKind.PURGES, "", f"{behind[0]}: purges can't be logged there; {rest}")]

    # marks

    def load(self, joining: CacheDirectory | None = None) -> tuple[list[PurgeMark], int, int]:
        """Put all copies together, also that in a directory which is about to be used; returns the marks, the newest
        sequence that was published to all workers, and the floor: marks up to it aren't known any more.

        Marks that were written and not published by a worker that was killed are published. Never raises.
        """
        places = self._places()
        if joining is not None and all(place.path.parent != joining.path for place in places):
            places.append(_in(joining))
        with self._exclusive():
            history, copies = self._history, {}
            known = set(history.marks)
            for place in places:
                try:
                    data = place.read()
                except OSError as error:
                    self._failed(place, error)
                    continue
                copies[place] = data
                history.read(data)
            words = self._shared.purges
            words[_ASSIGNED] = max(words[_ASSIGNED], words[_NEWEST], history.newest)
            self._publish_missing()
            brought = [mark for name, mark in history.marks.items() if name not in known]
            if joining is not None and known and brought:  # only this directory has them
                self._publish(brought)
            self._is_first = self._is_first or not words[_LOADED]
            words[_LOADED] = 1
            for place, data in copies.items():
                own = PurgeHistory()
                damaged = own.read(data)
                if damaged:
                    log.warning(_DAMAGED, place.path, damaged)
                if damaged or (own.marks.keys(), _ends(own)) != (history.marks.keys(), _ends(history)):
                    self._replace(place)
            return list(history.marks.values()), words[_NEWEST], history.floor

    def join(self, directory: CacheDirectory) -> Callable[[], None]:
        """Have a directory obey the marks that it missed, before anything in it is found; to be called once it is
        open, and what is returned, on the event loop, before it is used. One that missed marks which aren't known any
        more is emptied. Raises StoreError.
        """
        try:
            known = max(directory.fence(), directory.swept_before())
        except OSError as error:
            raise StoreError(f"{directory.path}: {error.strerror or error}") from None
        with self._exclusive():
            if known > self._shared.purges[_NEWEST]:  # of a log that is lost: what is stored from now on is later
                self._shared.publish((), purge=known)
        before = set(self._history.marks)
        found, newest, floor = self.load(directory)
        with self._exclusive():
            try:
                if max(directory.swept(), directory.swept_before()) < floor:
                    if not directory.is_empty():
                        text = "cache directory %s: it missed purges that aren't known any more: it is emptied"
                        log.warning(text, directory.path)
                        directory.clear()
                    sweep = directory.sweep(newest)
                    directory.begin_sweep(sweep)
                    directory.end_sweep(sweep)
                swept = directory.swept()
            except OSError as error:
                raise StoreError(f"{directory.path}: {error.strerror or error}") from None
        alive = [mark for mark in found if mark.sequence > swept]
        if before:  # what it brought was published: this worker learns of it as the others do, for its RAM, too
            alive = [mark for mark in alive if (mark.sequence, mark.kind, mark.text) in before]

        def obey() -> None:
            self._marks.add(*alive)
            self._marks.newest = max(self._marks.newest, newest)

        return obey

    def interrupted(self) -> list[LoggedPurge]:
        """Orders that weren't carried out to the end by this worker's predecessor, or, for the first worker that has
        read the log, by those of the node's last run.
        """
        with self._exclusive():
            self._refresh()
            orders = self._history.orders.values()
            wanted = [order for order in orders if self._is_first or order.worker == self._worker]
            return [order for order in wanted if not order.completed]

    def add_marks(self, kind: MarkKind, texts: Sequence[bytes], *, soft: bool, after: float = 0.0) -> list[PurgeMark]:
        """Assign the next sequence to marks, make them durable, and publish them to all workers.

        Raises StoreError if there are places, and none could be written: then nothing has happened.
        """
        with self._exclusive():
            if self._shared.purges[_ASSIGNED] > self._shared.purges[_NEWEST]:
                self._refresh()
                self._publish_missing()
            now = self._clock()
            sequence = self._next(now)
            marks = [PurgeMark(sequence, kind, text, soft, now, after) for text in texts]
            self._append(lines_of(marks))
            for mark in marks:
                self._history.add(mark)
            self._publish(marks)
            return marks

    def trim(self, swept: int) -> None:
        """Drop what needn't be remembered, where all that falls under marks up to `swept` is gone; and bring copies
        that lack something up to date.
        """
        with self._exclusive():
            self._refresh()
            before = len(self._history.marks) + len(self._history.orders)
            self._history.trim(self._clock(), swept)
            changed = len(self._history.marks) + len(self._history.orders) != before
            places = self._places()
            self._behind &= {place.path for place in places}  # others join anew when they are back
            wanted = [place for place in places if changed or place.path in self._behind or place.is_long()]
            if not wanted:
                return
            for place in places:  # each may have what another worker couldn't write to the rest
                with suppress(OSError):
                    self._history.read(place.read())
            self._history.trim(self._clock(), swept)
            for place in wanted:
                self._replace(place)

    # orders

    def append(self, order: LoggedPurge) -> tuple[LoggedPurge, bool]:
        """Log an order before it is carried out; returns it with its sequence, or the one that is known under its id,
        and whether it is new. Raises StoreError as `add_marks`.
        """
        with self._exclusive():
            self._refresh()
            known = self._history.orders.get(order.id)
            if known is not None:
                return known, False
            made = replace(order, sequence=self._next(self._clock()), worker=self._worker)
            self._append(lines_of([made]))
            self._history.add(made)
            return made, True

    def complete(self, order_id: str, removed: int | None = None) -> None:
        """An order was carried out; `removed` as in `LoggedPurge`. Raises StoreError as `add_marks`."""
        with self._exclusive():
            self._append(line_of_end(order_id, removed))
            self._history.complete(order_id, removed)

    def find(self, order_id: str) -> LoggedPurge | None:
        """The order with this id."""
        with self._exclusive():
            self._refresh()
            return self._history.orders.get(order_id)

    def recent(self, most: int) -> list[LoggedPurge]:
        """So many orders at most, the newest first."""
        with self._exclusive():
            self._refresh()
            return sorted(self._history.orders.values(), key=lambda each: each.sequence, reverse=True)[:most]

    # with others excluded

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._alone, self._shared.purging():
            yield

    def _next(self, now: float) -> int:
        """The next sequence: greater than any before, also than those of a log that was lost."""
        words = self._shared.purges
        sequence = max(words[_ASSIGNED] + 1, int(now * _MICROSECONDS))
        words[_ASSIGNED] = sequence
        return sequence

    def _publish_missing(self) -> None:
        """Publish what a worker wrote that was killed before it could publish it."""
        newest = self._shared.purges[_NEWEST]
        missing = [mark for mark in self._history.marks.values() if mark.sequence > newest]
        if missing:
            self._publish(sorted(missing, key=lambda mark: mark.sequence))
        self._shared.purges[_NEWEST] = max(self._shared.purges[_NEWEST], self._shared.purges[_ASSIGNED])

    def _publish(self, marks: Sequence[PurgeMark]) -> None:
        """In one step: no worker sees some of an order's marks and takes itself for being up to date."""
        self._shared.publish([marking(mark) for mark in marks], purge=max(mark.sequence for mark in marks))

    def _places(self) -> list[LogPlace]:
        places = [] if self._state is None else [LogPlace(self._state / FILE)]
        return [*places, *[_in(directory) for directory in self._directories()]]

    def _append(self, data: bytes) -> None:
        places, done, why = self._places(), False, ""
        for place in places:
            try:
                place.append(data)
                done = True
            except OSError as error:
                why = f"{place.path}: {error.strerror or error}"
                self._failed(place, error)
        if places and not done:
            raise StoreError(f"the log of purges can't be written: {why}; nothing was purged")

    def _replace(self, place: LogPlace) -> None:
        try:
            place.replace(self._history.lines())
            self._behind.discard(place.path)
        except OSError as error:
            self._failed(place, error)

    def _failed(self, place: LogPlace, error: OSError) -> None:
        self._failures += 1
        self._behind.add(place.path)
        said = error.strerror or str(error)
        text = "%s: can't be read or written: %s; purges are logged in other places, if there are any"
        self._complaints.say(place.path, self._clock(), text, place.path, said)

    def _refresh(self) -> None:
        """Read what other workers have written since."""
        for place in self._places():
            try:
                with place.path.open("rb") as file:
                    status = os.fstat(file.fileno())
                    known = self._read_until
                    if known is None or known[:2] != (place.path, status.st_ino) or status.st_size < known[2]:
                        known = (place.path, status.st_ino, 0)
                    file.seek(known[2])
                    data = file.read()
            except OSError:
                continue
            if not known[2] and self._read_until is not None:
                self._history.trim(self._clock(), self._history.floor)  # as who replaced it has done
            end = data.rfind(b"\n") + 1
            self._history.read(data[:end])
            self._read_until = (*known[:2], known[2] + end)
            return


def _in(directory: CacheDirectory) -> LogPlace:
    return LogPlace(directory.path / FILE, directory.check_here)


def _ends(history: PurgeHistory) -> set[tuple[str, bool]]:
    return {(order.id, order.completed) for order in history.orders.values()}


def _write(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
