"""A node's workers as their parent knows them: posts, each a number with its sockets, and their processes.

A post outlives its processes: new connections wait in its sockets' queues for the next one. While a program is being
replaced a post has a holder and its successor, which begins with the same sockets; once that is ready, the holder
retires.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from shield.errors import ConfigError
from shield.lifecycle.handover import PostRecord, ProcessRecord, taken
from shield.line import Kind, Line
from shield.observe.logs import mark_worker
from shield.private import leave
from shield.shared import Seat
from shield.signals import Signals
from shield.worker import Sockets

log = logging.getLogger("shield.supervisor")

UNUSABLE = 2
"""Exit code of a worker whose settings can't be used: a replacement would fail as well."""

_PROVEN_SECONDS = 10.0  # a worker that served this long is replaced at once
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0

WorkerMain = Callable[[Seat, Sockets, Line], int]
"""The work of a worker's process, until it ends with this code."""


class Process:
    """A worker's process. `program` is the number of the one that it runs; `tenant` is its share of directories."""

    def __init__(self, pid: int, line: Line, *, program: int, tenant: int) -> None:
        self.pid = pid
        self.line: Line | None = line
        self.program = program
        self.tenant = tenant
        self.began_at = time.monotonic()
        self.ready_at: float | None = None
        self.retired_at = self.began_at
        self.is_hung = False  # it hung and was killed

    @classmethod
    def adopted(cls, record: ProcessRecord) -> Process:
        """One that another program has started."""
        line = Line(taken(record.line), bytes.fromhex(record.received), bytes.fromhex(record.unsent))
        made = cls(record.pid, line, program=record.program, tenant=record.tenant)
        made.ready_at = record.ready_at
        return made

    def record(self) -> ProcessRecord | None:
        """For another program; None if its line is gone, as it will be itself."""
        if self.line is None:
            return None
        received, unsent = (part.hex() for part in self.line.rest)
        return ProcessRecord(self.pid, self.line.fileno(), received, unsent, self.ready_at, self.program, self.tenant)

    def tell(self, order: Kind, body: bytes = b"") -> None:
        if self.line is not None:
            self.line.send(order, body)

    def hang_up(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


class Post:
    """A worker's number and sockets, and the processes that hold them."""

    def __init__(self, seat: Seat, sockets: Sockets) -> None:
        self.seat = seat
        self.sockets = sockets
        self.number = seat.worker
        self.holder: Process | None = None
        self.successor: Process | None = None  # of the holder, until it is ready
        self.retired: list[Process] = []  # they finish what runs
        self.was_ready = False  # any holder, ever
        self.due: float | None = None  # start of the next holder
        self.delay = 0.0
        self.tenant = 0  # the last holder's, and the next one's

    @property
    def processes(self) -> list[Process]:
        return [each for each in (self.holder, self.successor, *self.retired) if each is not None]

    def adopt(self, record: PostRecord) -> None:
        """Take over the processes that another program has started."""
        self.retired = [Process.adopted(each) for each in record.retired]
        self.was_ready = True
        self.due = None
        if record.holder is None:
            self.due = 0.0
            return
        self.holder = Process.adopted(record.holder)
        self.tenant = self.holder.tenant

    def record(self, peer: int) -> PostRecord:
        """For another program. A successor is of no use to it."""
        if self.successor is not None:
            self.successor.kill()
            self.retired.append(self.successor)
            self.successor = None
        holder = None if self.holder is None else self.holder.record()
        return PostRecord(peer, holder, tuple(kept for each in self.retired if (kept := each.record())))

    def tell(self, order: Kind, body: bytes = b"") -> None:
        """Tell the holder."""
        if self.holder is not None:
            self.holder.tell(order, body)

    def note_ready(self, process: Process) -> None:
        """It serves. If it is the successor, the holder before it retires."""
        process.ready_at = time.monotonic()
        self.was_ready = True
        if process is not self.successor:
            return
        if self.holder is not None:
            self.holder.tell(Kind.RETIRE)
            self.holder.retired_at = time.monotonic()
            self.retired.append(self.holder)
        self.holder, self.successor = process, None
        self.tenant = process.tenant

    def lose(self, process: Process) -> None:
        """It has ended. A holder is replaced, unless its successor is under way."""
        process.hang_up()
        if process is self.holder:
            self.holder = None
        elif process is self.successor:
            self.successor = None
            self.due = None if self.holder is not None else time.monotonic()
        else:
            self.retired.remove(process)

    def put_off(self, served: float) -> float:
        """Have the next holder begin after a delay, which is the longer the less the last ones have served."""
        self.delay = 0.0 if served >= _PROVEN_SECONDS else min(_LONGEST_DELAY, 2 * self.delay or _FIRST_DELAY)
        self.due = time.monotonic() + self.delay
        return self.delay


class Posts(list[Post]):
    """All of a node. `program` is the number of this one. `work` is done in processes that are begun."""

    def __init__(self, posts: Sequence[Post], signals: Signals, *, program: int, work: WorkerMain) -> None:
        super().__init__(posts)
        self._signals = signals
        self._work = work
        self.program = program

    def processes(self) -> Iterator[tuple[Post, Process]]:
        """Also those that begin or end."""
        for post in self:
            for process in post.processes:
                yield post, process

    def fork_due(self, now: float) -> None:
        """Begin the holders whose time has come."""
        for post in self:
            if post.due is not None and post.due <= now:
                post.due = None
                post.holder = self._fork(post, post.tenant)

    def begin_successor(self, post: Post) -> None:
        """Begin the process that is to hold a post next. None of its retired ones may be left."""
        assert post.holder is not None and post.successor is None and not post.retired
        post.successor = self._fork(post, 1 - post.holder.tenant)

    def _fork(self, post: Post, tenant: int) -> Process:
        ours, theirs = socket.socketpair()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or buffered text is written twice
        with self._signals.held_back():
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._become_worker(post, tenant, theirs)
        theirs.close()
        return Process(pid, Line(ours), program=self.program, tenant=tenant)

    def _become_worker(self, post: Post, tenant: int, line: socket.socket) -> NoReturn:
        """In the forked process, which exits from here: none of the parent's cleanup is run."""
        code, parent = 1, os.getppid()
        try:
            mark_worker(post.number)
            self._signals.forget()
            for _, process in self.processes():
                process.hang_up()
            mine = set(post.sockets.all())
            for listener in {each for other in self for each in other.sockets.all()} - mine:
                listener.close()
            code = self._work(replace(post.seat, tenant=tenant), post.sockets, Line(line))
        except ConfigError as error:
            sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
            code = UNUSABLE
        except BaseException:
            log.exception("worker %d failed", post.number)
        finally:
            if post.seat.peers and os.getppid() != parent:
                leave(Path(post.seat.peers[post.number]))  # the parent is gone and can't remove it
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def fate(code: int) -> str:
    """The end of a process in words, by its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
