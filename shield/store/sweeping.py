"""Sweeps a worker's directories in the background, at a pace that leaves the disks to requests."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from shield.errors import StoreError
from shield.rules.purging import PurgeMarks
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.sweep import Fallen, Sweep
from shield.store.disk import softens
from shield.store.removals import Purged
from shield.store.volume import Volume

log = logging.getLogger("shield.store")

_REST = 3.0  # times as long as it has worked: it takes a quarter of a disk and of a processor at most
_SHORTEST_REST, _LONGEST_REST = 0.001, 0.05
_TOGETHER = 1024  # records that are removed with one wait for the disk
_CHECK_SECONDS = 0.5  # how often a sweep that waits for the writer looks whether it is to end


class Sweeper:
    """Of one volume. `tick`, `stop` and `join` belong to the event loop, on which `tell` is called with all that fell
    under a mark.
    """

    def __init__(
        self,
        volume: Volume,
        marks: PurgeMarks,
        *,
        loop: asyncio.AbstractEventLoop,
        tell: Purged,
        rest: float = _REST,
    ) -> None:
        self.removed = 0
        """Records that fell under marks, as far as they were still there."""
        self._volume = volume
        self._marks = marks
        self._loop = loop
        self._tell = tell
        self._rest = rest
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def tick(self) -> None:
        """Begin a sweep if there are marks that the directory hasn't been swept of."""
        directory = self._volume.directory
        if self.is_running or self._stopped.is_set() or directory is None or not self._volume.writable:
            return
        until = self._marks.newest
        try:
            if not self._marks.alive or directory.swept() >= until or not directory.is_rebuilt():
                return
        except (StoreError, OSError):
            return
        self._thread = threading.Thread(
            target=self._run, args=(directory, until), name=f"shield-sweeper-{self._volume.path.name}", daemon=True
        )
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Make it end soon; the rest is swept after the next start."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for its end. Blocks."""
        if self._thread is not None:
            self._thread.join()

    # its own thread

    def _run(self, directory: CacheDirectory, until: int) -> None:
        sweep, seen, removed, began = directory.sweep(until), 0, self.removed, self._loop.time()
        try:
            if not self._change(directory, lambda it: it.begin_sweep(sweep)):
                return
            worked_at, fallen = began, list[Fallen]()
            for step in sweep.steps(self._marks):
                seen += step.seen
                fallen += step.fallen
                if len(fallen) >= _TOGETHER:
                    if not self._change(directory, partial(self._carry_out, sweep, fallen)):
                        return
                    fallen = []
                rest = max(_SHORTEST_REST, (self._loop.time() - worked_at) * self._rest)
                if self._stopped.wait(min(rest, _LONGEST_REST)):
                    return
                worked_at = self._loop.time()
            if fallen and not self._change(directory, partial(self._carry_out, sweep, fallen)):
                return
            if self._change(directory, lambda it: it.end_sweep(sweep)):
                text = "cache directory %s: swept of purged entries in %.0f s: %d of %d records removed or made stale"
                log.info(text, self._volume.path, self._loop.time() - began, self.removed - removed, seen)
        except (StoreError, OSError) as error:
            log.debug("sweeping %s: %s", self._volume.path, error)  # tried again
        except Exception:  # a bug of ours: the marks stay, so that nothing purged is served
            log.exception("sweeping a cache directory failed")
            self._stopped.set()

    def _carry_out(self, sweep: Sweep, fallen: Sequence[Fallen], directory: CacheDirectory) -> None:
        for each in fallen:  # before it is gone, so that no fetch comes between
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._tell, each.key, 0, each.mark)
        self.removed += directory.carry_out(sweep, fallen, softens)

    def _change(self, directory: CacheDirectory, change: Callable[[CacheDirectory], object]) -> bool:
        """Have the writer's thread make a change; whether it did."""
        done = threading.Event()
        outcomes: list[bool] = []

        def work(current: CacheDirectory) -> None:
            if current is not directory:
                raise StoreError("another directory is there now")
            change(current)

        def told(well: bool) -> None:
            outcomes.append(well)
            done.set()

        self._volume.change(work, told)
        while not done.wait(_CHECK_SECONDS):
            if self._stopped.is_set():
                return False
        return outcomes[0]
