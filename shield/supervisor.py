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
import json
import logging
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from shield.admin.reload import Reloaded
from shield.agreement import Agreement, AgreementState
from shield.build.edition import Edition
from shield.errors import ConfigError
from shield.follower import logged, objections
from shield.line import Kind, Line
from shield.observe.logs import configure, mark_worker
from shield.private import leave, private_directory, socket_path
from shield.shared import Seat, Shared, Standing
from shield.signals import Signals
from shield.worker import Build, ConfigWatch, Plan, Sockets, bind, names, outlive_hangups, serve

log = logging.getLogger("shield.supervisor")

UNUSABLE = 2
"""Exit code of a worker whose settings can't be used: a replacement would fail as well."""

_PROVEN_SECONDS = 10.0  # a worker that served this long is replaced at once
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
_KILL_SECONDS = 5.0  # after the order to stop at once
_LOOK_SECONDS = 0.5  # between two checks of the workers' heartbeats
_WATCH_SECONDS = 1.0  # between two checks of the settings' file
_PEER_BACKLOG = 4096


def supervise(edition: Edition, build: Build, *, watch: bool = False) -> int:
    """Serve with several workers until SIGTERM or SIGINT; 0 after a clean stop, 2 for settings that can't be used.

    `watch`: reload the settings when their file changes. Raises ConfigError for an address that can't be bound. Call
    it in a process without threads.
    """
    outlive_hangups()
    plan, workers = Plan.of(edition.loaded.settings), edition.loaded.settings.workers
    with contextlib.ExitStack() as stack:
        shared = Shared(workers=workers, slots=plan.hit_slots)
        stack.callback(shared.close)
        clients = [_closed_at_end(stack, bind(address, workers)) for address in plan.listen]
        admin = _closed_at_end(stack, bind(plan.admin, key="admin.listen")) if plan.admin is not None else []
        directory = stack.enter_context(private_directory())
        paths = [str(socket_path(directory, number)) for number in range(workers)]
        peers = _closed_at_end(stack, [_listen(path) for path in paths])
        posts = []
        for number in range(workers):
            place = Seat(number, workers, shared, tuple(paths))
            mine = [listeners[number] for listeners in clients]
            posts.append(_Post(place, Sockets(mine, () if number else admin, [peers[number]])))
        where = f"{names([each[0] for each in clients], plan.scheme)}, admin on {names(admin)}"
        with Signals() as signals:
            watched = ConfigWatch(edition.loaded.source.path) if watch else None
            return _Supervisor(plan, edition, build, posts, signals, watched).run(where)


class _Post:
    """A worker's number and sockets, and the process that currently holds them."""

    def __init__(self, place: Seat, sockets: Sockets) -> None:
        self.place = place
        self.sockets = sockets
        self.number = place.worker
        self.was_ready = False  # any holder, ever
        self.pid: int | None = None
        self.line: Line | None = None
        self.ready_at: float | None = None  # the holder's
        self.due: float | None = None  # start of the next holder
        self.delay = 0.0
        self.is_hung = False  # the holder hung and was killed

    def tell(self, order: Kind, body: bytes = b"") -> None:
        if self.line is not None:
            self.line.send(order, body)

    def hang_up(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None


class _Supervisor:
    def __init__(
        self,
        plan: Plan,
        edition: Edition,
        build: Build,
        posts: Sequence[_Post],
        signals: Signals,
        watch: ConfigWatch | None,
    ) -> None:
        self._plan = plan
        self._edition = edition  # in force
        self._build = build
        self._watch = watch
        self._watched_at = time.monotonic()
        self._agreements = 0  # so far
        self._agreement: Agreement | None = None  # under way
        self._next_plan = plan  # of what is to be agreed on
        self._is_wanted = False  # a reload, as soon as there is none under way
        self._askers: list[tuple[_Post, int]] = []  # who wait for what becomes of the next one, with their numbers
        self._told: list[tuple[_Post, int]] = []  # and of the one under way
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
                    self._is_wanted = True
                elif number != signal.SIGCHLD:
                    self._stop(signal.Signals(number).name)
            for post in self._posts:
                self._hear(post)
                self._reap(post)
            self._look_at_settings()
            if not announced and all(post.was_ready for post in self._posts):
                announced = True
                log.info("%d workers are ready: the node serves on %s", len(self._posts), where)
        return self._code

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        for post in self._posts:
            if post.line is not None:
                poll.register(post.line.fileno(), select.POLLIN | (select.POLLOUT if post.line.is_waiting else 0))
        times = [post.due for post in self._posts if post.due is not None and self._agreement is None]
        if self._kill_at is not None:
            times.append(self._kill_at)
        if self._watches:
            times.append(self._looked_at + _LOOK_SECONDS)
        if self._agreement is not None:
            times.append(self._agreement.deadline)
        if self._watch is not None and not self._orders:
            times.append(self._watched_at + _WATCH_SECONDS)
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
        if self._agreement is not None:
            return  # a worker begins with what is in force, which isn't known now
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
        post.pid, post.line, post.ready_at, post.is_hung = pid, Line(ours), None, False

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
            code = serve(self._plan, self._edition, self._build, post.sockets, place=post.place, line=Line(line))
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
        if post.line is None:
            return
        post.line.flush()
        try:
            messages = post.line.receive()
        except EOFError:
            post.hang_up()  # it is dead, or about to be
            return
        for kind, body in messages:
            if kind is Kind.READY:
                self._note_ready(post)
            elif kind is Kind.ASK:
                self._is_wanted = True
                self._askers.append((post, json.loads(body)))
            elif self._agreement is not None:
                self._agreement.hear(post.number, kind, body)

    def _note_ready(self, post: _Post) -> None:
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
        if self._agreement is not None:
            self._agreement.lose(post.number)
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

    # other settings

    def _look_at_settings(self) -> None:
        """Begin a reload that is wanted, or go on with one."""
        now = time.monotonic()
        if self._watch is not None and now >= self._watched_at + _WATCH_SECONDS:
            self._watched_at = now
            if self._watch.look():
                log.info("the settings' file has changed")
                self._is_wanted = True
        if self._agreement is None and self._is_wanted:
            self._is_wanted = False
            self._told, self._askers = self._askers, []
            self._begin_reload()
        if self._agreement is None:
            return
        verdict = self._agreement.judge(now)
        if verdict is AgreementState.REFUSED:
            self._refuse(tuple(self._agreement.problems))
            return
        if verdict is AgreementState.AGREED:
            self._edition, self._plan = self._agreement.edition, self._next_plan
            settings = self._edition.loaded.settings
            configure(settings.log.level, style=settings.log.format)
            for post in self._posts:
                post.tell(Kind.COMMIT)
            verdict = self._agreement.judge(now)
        if verdict is AgreementState.DONE:
            self._agreement = None
            edition = self._edition
            self._answer(logged(Reloaded(edition.generation, (), edition.waiting), edition))

    def _begin_reload(self) -> None:
        if self._orders:
            self._refuse(("the node is stopping",))
            return
        try:
            edition = self._edition.next(time.time())
            self._next_plan = Plan.of(edition.loaded.settings)
        except Exception as error:
            self._refuse(objections(error))
            return
        self._agreements += 1
        voters = [post.number for post in self._posts if post.pid is not None]
        self._agreement = Agreement(self._agreements, edition, voters, time.monotonic())
        order = pickle.dumps((self._agreements, edition))
        for post in self._posts:
            post.tell(Kind.PREPARE, order)

    def _refuse(self, problems: Sequence[str]) -> None:
        self._agreement = None
        self._edition = self._edition.outdated()
        for post in self._posts:
            post.tell(Kind.REFUSED)
        self._answer(logged(Reloaded(self._edition.generation, tuple(problems))))

    def _answer(self, done: Reloaded) -> None:
        for post, number in self._told:
            post.tell(Kind.RESULT, json.dumps([number, asdict(done)]).encode())
        self._told = []

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
            post.tell(Kind.DRAIN if self._orders == 1 else Kind.STOP)
            post.sockets.close()  # the workers' own copies alone keep them open


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
