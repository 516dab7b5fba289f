"""The queue of a directory's writer: writes, bounded in bytes, and all other work, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from shield.store.directory.directory import CacheDirectory
from shield.store.directory.log import RUN, Draft

BACKLOG = 128 << 20
"""Bytes that may wait to be written, at most."""

DirectoryChange = Callable[[CacheDirectory], object]
Completion = Callable[[bool], None]


@dataclass(slots=True)
class Write:
    """`size` 0: bounded by the caller."""

    draft: Draft
    size: int
    moved: bool  # from another tier: skipped if it is here already
    done: Completion | None


@dataclass(slots=True)
class WriterTask:
    """`change` None: open the directory anew. `directory`: one that isn't in use yet."""

    change: DirectoryChange | None
    done: Completion | None
    directory: CacheDirectory | None = None


class Backlog:
    """Between submitters in any thread and the one writer."""

    def __init__(self) -> None:
        self.bytes = 0
        self.stopped = False
        self._changed = threading.Condition()
        self._jobs: deque[Write | WriterTask] = deque()

    def write(self, write: Write) -> bool:
        """Queue a write; False when too much waits, or the queue is closed."""
        with self._changed:
            if self.stopped or (write.size and self.bytes + write.size > BACKLOG):
                return False
            self.bytes += write.size
            self._jobs.append(write)
            self._changed.notify_all()
        return True

    def work(self, work: WriterTask) -> None:
        with self._changed:
            self._jobs.append(work)
            self._changed.notify_all()

    def wait_for_room(self, seconds: float) -> None:
        """Wait until something is written, at most this long."""
        with self._changed:
            self._changed.wait(seconds)

    def wake(self) -> None:
        """Have the writer check again whether it is idle."""
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """Accept no more writes. Those that wait are still done."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def take(self, is_idle: Callable[[], bool]) -> list[Write | WriterTask]:
        """The next jobs: one other job, or as many writes as may be committed together.

        Waits while there are none and the writer is idle; empty when it isn't idle, or on a stop with all done.
        """
        with self._changed:
            while not self._jobs and not self.stopped and is_idle():
                self._changed.wait()
            jobs = [self._jobs.popleft()] if self._jobs else []
            while (
                jobs
                and self._jobs
                and len(jobs) < RUN
                and all(isinstance(j, Write) for j in (jobs[0], self._jobs[0]))
            ):
                jobs.append(self._jobs.popleft())
        return jobs

    def written(self, writes: list[Write]) -> None:
        """These no longer wait."""
        with self._changed:
            self.bytes -= sum([write.size for write in writes])
            self._changed.notify_all()
