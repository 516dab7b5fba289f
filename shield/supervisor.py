"""The parent of a node's workers: binds their sockets, forks them, replaces those that die, stops them all.

It serves nothing itself, and has neither threads nor an event loop, so that it can fork at any time. Each worker has
a post: its number and its sockets, which outlive it. New connections wait in their queues for the successor, so the
port never refuses.

Inside a node, stopping uses no signals (see `worker`): an order goes down each worker's line, and a parent's death
shows as the end of the line.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from shield.errors import ConfigError
from shield.observe.logs import mark_worker
from shield.private import leave, private_directory, socket_path
from shield.shared import Seat, Shared, Standing
from shield.worker import (
    DRAIN,
    HANGUP_NOTED,
    READY,
    STOP,
    Build,
    Plan,
    Sockets,
    bind,
    names,
    outlive_hangups,
    serve,
)

log = logging.getLogger("shield.supervisor")

UNUSABLE = 2
"""Exit code of a worker whose settings can't be used: a replacement would fail as well."""

_PROVEN_SECONDS = 10.0  # a worker that served this long is replaced at once
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
_KILL_SECONDS = 5.0  # after the order to stop at once
_LOOK_SECONDS = 0.5  # between two checks of the workers' heartbeats
_PEER_BACKLOG = 4096
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)


def supervise(plan: Plan, build: Build, *, workers: int) -> int:
    """Serve with several workers until SIGTERM or SIGINT; 0 after a clean stop, 2 for settings that can't be used.

    Raises ConfigError for an address that can't be bound. Call it in a process without threads.
    """
    outlive_hangups()
    with contextlib.ExitStack() as stack:
        shared = Shared(workers=workers, slots=plan.hit_slots)
        stack.callback(shared.close)
        clients = [_closed_at_end(stack, bind(address, workers)) for address in plan.listen]
        admin = _closed_at_end(stack, bind(plan.admin)) if plan.admin is not None else []
        directory = stack.enter_context(private_directory())
        paths = [str(socket_path(directory, number)) for number in range(workers)]
        peers = _closed_at_end(stack, [_listen(path) for path in paths])
        posts = []
        for number in range(workers):
            place = Seat(number, workers, shared, tuple(paths))
            mine = [listeners[number] for listeners in clients]
            posts.append(_Post(place, Sockets(mine, () if number else admin, [peers[number]])))
        where = f"{names([each[0] for each in clients], plan.scheme)}, admin on {names(admin)}"
        with _Signals() as signals:
            return _Supervisor(plan, build, posts, signals).run(where)


class _Post:
    """A worker's number and sockets, and the process that currently holds them."""

    def __init__(self, place: Seat, sockets: Sockets) -> None:
        self.place = place
        self.sockets = sockets
        self.number = place.worker
        self.was_ready = False  # any holder, ever
        self.pid: int | None = None
        self.line: socket.socket | None = None
        self.ready_at: float | None = None  # the holder's
        self.due: float | None = None  # start of the next holder
        self.delay = 0.0
        self.is_hung = False  # the holder hung and was killed

    def tell(self, order: bytes) -> None:
        if self.line is not None:
            with contextlib.suppress(OSError):  # it is dead, which is handled elsewhere
                self.line.send(order)

    def hang_up(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None


class _Supervisor:
    def __init__(self, plan: Plan, build: Build, posts: Sequence[_Post], signals: _Signals) -> None:
        self._plan = plan
        self._build = build
        self._posts = posts
        self._signals = signals
        self._orders = 0  # to stop: after the first no worker is replaced, the second doesn't wait
        self._kill_at: float | None = None
        self._looked_at = self._awake_since = time.monotonic()
        self._code = 0

    def run(self, where: str) -> int:
        """Runs until the last worker has ended."""
        gc.collect()
        gc.freeze()  # objects made so far aren't touched, and stay shared with the workers
        announced = False
        self._posts[0].due = 0.0  # alone, so that errors in the settings are reported once
        while not self._orders or any(post.pid is not None for post in self._posts):
            self._fork_who_is_due()
            self._wait()
            self._kill_hung()
            for number in self._signals.taken():
                if number == signal.SIGHUP:
                    log.info(HANGUP_NOTED)
                elif number != signal.SIGCHLD:
                    self._stop(signal.Signals(number).name)
            for post in self._posts:
                self._hear(post)
                self._reap(post)
            if not announced and all(post.was_ready for post in self._posts):
                announced = True
                log.info("%d workers are ready: the node serves on %s", len(self._posts), where)
        return self._code

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        for post in self._posts:
            if post.line is not None and post.ready_at is None:
                poll.register(post.line.fileno(), select.POLLIN)
        times = [post.due for post in self._posts if post.due is not None]
        if self._kill_at is not None:
            times.append(self._kill_at)
        if self._watches:
            times.append(self._looked_at + _LOOK_SECONDS)
        poll.poll(max(0.0, min(times) - time.monotonic()) * 1000 + 1 if times else None)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_at = None
            for post in self._posts:
                if post.pid is not None:
                    log.error("worker %d (pid %d) doesn't stop: killing it", post.number, post.pid)
                    os.kill(post.pid, signal.SIGKILL)

    # starting

    def _fork_who_is_due(self) -> None:
        now = time.monotonic()
        for post in self._posts:
            if post.due is not None and post.due <= now:
                post.due = None
                self._fork(post)

    def _fork(self, post: _Post) -> None:
        ours, theirs = socket.socketpair()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or buffered text is written twice
        with self._signals.held_back():
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._become_worker(post, theirs)
        theirs.close()
        ours.setblocking(False)
        post.pid, post.line, post.ready_at, post.is_hung = pid, ours, None, False

    def _become_worker(self, post: _Post, line: socket.socket) -> NoReturn:
        """In the forked process, which exits from here: none of the parent's cleanup is run."""
        code, parent = 1, os.getppid()
        try:
            mark_worker(post.number)
            self._signals.forget()
            for other in self._posts:
                other.hang_up()
                if other is not post:
                    other.sockets.close()
            line.setblocking(False)
            code = serve(self._plan, self._build, post.sockets, place=post.place, line=line)
        except ConfigError as error:
            sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
            code = UNUSABLE
        except BaseException:
            log.exception("worker %d failed", post.number)
        finally:
            if os.getppid() != parent:
                leave(Path(post.place.peers[post.number]))  # the parent is gone and can't remove it
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    # watching

    def _hear(self, post: _Post) -> None:
        if post.line is None or post.ready_at is not None:
            return
        try:
            word = post.line.recv(16)
        except OSError:
            return
        if READY not in word:
            return
        post.ready_at = time.monotonic()
        if post.was_ready:
            log.info("worker %d is back (pid %d)", post.number, post.pid)
        elif post is self._posts[0] and not self._orders:
            for other in self._posts[1:]:
                other.due = 0.0
        post.was_ready = True

    @property
    def _watches(self) -> bool:
        """Whether there are workers to watch: not while all of them stop."""
        return not self._orders and any(post.ready_at is not None for post in self._posts)

    def _kill_hung(self) -> None:
        """Kill workers whose loop has stalled for too long, so that they are replaced.

        Only time during which this process ran counts: it stalls as well when all of them are stopped, or the machine
        is suspended.
        """
        now = time.monotonic()
        if now - self._looked_at > 2 * _LOOK_SECONDS or not self._watches:
            self._awake_since = now
        self._looked_at = now
        for post in self._posts:
            shared = post.place.shared
            if post.pid is None or post.ready_at is None or post.is_hung or self._orders:
                continue
            if shared.standing[post.number] != Standing.SERVING:
                continue  # closing the disks may take its time
            stood = now - max(shared.last_beat(post.number), post.ready_at, self._awake_since)
            if stood > self._plan.stall_seconds:
                post.is_hung = True
                log.error("worker %d (pid %d) has hung for %.1f s: killing it", post.number, post.pid, stood)
                os.kill(post.pid, signal.SIGKILL)

    def _reap(self, post: _Post) -> None:
        if post.pid is None:
            return
        pid, status = os.waitpid(post.pid, os.WNOHANG)
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        post.place.shared.standing[post.number] = Standing.DOWN
        post.place.shared.beat(post.number, 0.0)
        served = 0.0 if post.ready_at is None else time.monotonic() - post.ready_at
        stopped_in_time = post.ready_at is None and -code in (signal.SIGTERM, signal.SIGINT)
        post.pid = None
        post.hang_up()
        if self._orders:
            if code != 0 and not stopped_in_time:
                log.error("worker %d (pid %d) %s", post.number, pid, _fate(code))
                self._code = self._code or 1
        elif code == UNUSABLE and not post.was_ready:
            self._code = UNUSABLE
            self._stop("settings can't be used")
        else:
            self._replace(post, pid, code, served)

    def _replace(self, post: _Post, pid: int, code: int, served: float) -> None:
        if served >= _PROVEN_SECONDS:
            post.delay = 0.0
        else:
            post.delay = min(_LONGEST_DELAY, 2 * post.delay or _FIRST_DELAY)
        post.due = time.monotonic() + post.delay
        log.error("worker %d (pid %d) %s; replacing it in %.1f s", post.number, pid, _fate(code), post.delay)

    # stopping

    def _stop(self, why: str) -> None:
        """The first call drains the workers; the second stops them at once."""
        self._orders += 1
        if self._orders > 1:
            self._kill_at = time.monotonic() + _KILL_SECONDS
            log.warning("%s again: stopping without waiting for transfers", why)
        else:
            log.info("%s: stopping %d workers", why, len(self._posts))
        for post in self._posts:
            post.due = None
            post.tell(DRAIN if self._orders == 1 else STOP)
            post.sockets.close()  # the workers' own copies alone keep them open


class _Signals:
    """Signals as something to wait for, while entered."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._before: dict[int, Any] = {}  # as `signal.signal` gave them

    def __enter__(self) -> _Signals:
        for end in (self._reader, self._writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, lambda number, frame: None)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        return self._reader.fileno()

    def taken(self) -> bytes:
        """Numbers of the signals received."""
        try:
            return self._reader.recv(4096)
        except BlockingIOError:
            return b""

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """None is delivered meanwhile: a forked process would report it to the parent."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def forget(self) -> None:
        """In a forked process: restore everything as before entering."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
        self._reader.close()
        self._writer.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _closed_at_end(stack: contextlib.ExitStack, listeners: list[socket.socket]) -> list[socket.socket]:
    for listener in listeners:
        stack.callback(listener.close)
    return listeners


def _listen(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        made.listen(_PEER_BACKLOG)
        made.setblocking(False)
    except OSError as error:  # above all: the path is too long
        made.close()
        raise ConfigError([f"{path}: no socket can be made here: {error.strerror or error}"]) from None
    return made


def _fate(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
