"""The parent of a node's workers: has their sockets, forks them, replaces those that die, stops them all.

It serves nothing itself, and has neither threads nor an event loop, so that it can fork at any time. What becomes of
workers is in `posts`, of settings in `reloads`, of the program in `upgrades`; here is the loop that they share.

Inside a node, stopping uses no signals (see `worker`): an order goes down each worker's line, and a parent's death
shows as the end of the line.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import select
import signal
import time

from shield import __version__
from shield.build.edition import Edition
from shield.lifecycle.handover import Handover
from shield.lifecycle.listening import names
from shield.lifecycle.notify import Notifier
from shield.lifecycle.program import Program
from shield.line import Kind, Line
from shield.posts import UNUSABLE, Post, Posts, Process, fate
from shield.reloads import Reloads
from shield.replaced import FileWatch
from shield.resources import Resources, open_resources
from shield.shared import Seat, Standing
from shield.signals import Signals, outlive
from shield.upgrades import Upgrades
from shield.worker import Build, Plan, Sockets, serve

log = logging.getLogger("shield.supervisor")

_KILL_SECONDS = 5.0  # after the order to stop at once
_OVERDUE_SECONDS = 30.0  # after the time to drain, for a worker that was replaced to close its disks
_LOOK_SECONDS = 0.5  # between two checks of the workers' heartbeats


def supervise(
    edition: Edition, build: Build, program: Program, *, watch: bool = False, inherited: Handover | None = None
) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop, 2 for settings that can't be used.

    `program` is this one, as it is started again. `watch`: reload the settings when their file changes. `inherited`
    is what the program before this one has handed over. Raises ConfigError if the node can't be started; then all
    that was handed over is still open. Call it in a process without threads.
    """
    outlive()
    plan = Plan.of(edition.loaded.settings)
    notifier = Notifier.of(os.environ, os.getpid())

    def work(seat: Seat, sockets: Sockets, line: Line) -> int:
        return serve(reloads.plan, reloads.edition, build, sockets, place=seat, line=line)

    with contextlib.ExitStack() as stack:
        stack.callback(notifier.close)
        resources = open_resources(
            stack, edition.loaded.settings, slots=plan.hit_slots, inherited=inherited, notifier=notifier
        )
        signals = stack.enter_context(Signals())
        number = 1 if inherited is None else inherited.program
        posts = Posts([Post(*place) for place in resources.places()], signals, program=number, work=work)
        watched = FileWatch(edition.loaded.source.path) if watch else None
        reloads = Reloads(edition, plan, posts, watch=watched, notifier=notifier)
        upgrades = Upgrades(program, posts, resources, signals, inherited=inherited, notifier=notifier)
        return _Supervisor(posts, reloads, upgrades, signals, notifier).run(resources)


class _Supervisor:
    def __init__(
        self, posts: Posts, reloads: Reloads, upgrades: Upgrades, signals: Signals, notifier: Notifier
    ) -> None:
        self._posts = posts
        self._reloads = reloads
        self._upgrades = upgrades
        self._signals = signals
        self._notifier = notifier
        self._orders = 0  # to stop: after the first no worker is replaced, the second doesn't wait
        self._kill_at: float | None = None
        self._looked_at = self._awake_since = time.monotonic()
        self._code = 0

    def run(self, resources: Resources) -> int:
        """Runs until the last worker has ended."""
        # Objects made so far aren't touched, and stay shared with the workers. What is garbage among them (half a
        # megabyte) stays, too: to find it would be a tenth of the start.
        gc.freeze()
        gc.enable()
        announced = self._upgrades.is_under_way
        if not announced:
            self._posts[0].due = 0.0  # alone, so that errors in the settings are reported once
        while not self._orders or any(post.processes for post in self._posts):
            if not self._reloads.is_under_way:
                self._posts.fork_due(time.monotonic())
            self._upgrades.step(self._reloads.edition, may_begin=not self._reloads.is_under_way)
            self._wait()
            self._notifier.beat(time.monotonic())
            self._kill_hung()
            self._take_signals()
            for post, process in list(self._posts.processes()):
                self._hear(post, process)
                self._reap(post, process)
            self._reloads.step(may_begin=not self._upgrades.is_under_way)
            if not announced and all(post.was_ready for post in self._posts):
                announced = True
                self._announce(resources)
        return self._code

    def _announce(self, resources: Resources) -> None:
        count, scheme = len(self._posts), self._reloads.plan.scheme
        clients = names([each.sockets[0] for each in resources.clients], scheme)
        who = f"{count} workers are ready" if count > 1 else "a worker is ready"
        log.info("%s: the node serves on %s, admin on %s", who, clients, names(resources.admin[:1]))
        if not self._orders:
            self._notifier.ready(f"serves with {count} worker{'s' if count > 1 else ''} of version {__version__}")

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        for _, process in self._posts.processes():
            if process.line is not None:
                wanted = select.POLLIN | (select.POLLOUT if process.line.is_waiting else 0)
                poll.register(process.line.fileno(), wanted)
        if self._upgrades.trial is not None:
            poll.register(self._upgrades.trial.fileno(), select.POLLIN)
        times = [*self._reloads.due, *self._upgrades.due]
        if not self._reloads.is_under_way:
            times += [post.due for post in self._posts if post.due is not None]
        times += [each for each in (self._kill_at, self._notifier.due) if each is not None]
        if self._watches:
            times.append(self._looked_at + _LOOK_SECONDS)
        poll.poll(max(0.0, min(times) - time.monotonic()) * 1000 + 1 if times else None)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_at = None
            for post, process in self._posts.processes():
                log.error("worker %d (pid %d) doesn't stop: killing it", post.number, process.pid)
                process.kill()

    def _take_signals(self) -> None:
        for number in self._signals.taken():
            if number == signal.SIGHUP:
                self._reloads.ask()
            elif number == signal.SIGUSR2:
                self._upgrades.ask()
            elif number != signal.SIGCHLD:
                self._stop(signal.Signals(number).name)

    # watching

    def _hear(self, post: Post, process: Process) -> None:
        if process.line is None:
            return
        process.line.flush()
        try:
            messages = process.line.receive()
        except EOFError:
            process.hang_up()  # it is dead, or about to be
            return
        for kind, body in messages:
            if kind is Kind.READY:
                self._note_ready(post, process)
            elif kind is Kind.ASK:
                self._take_ask((process, json.loads(body)))
            elif kind is Kind.ASK_UPGRADE:
                self._upgrades.ask((process, json.loads(body)))
            else:
                self._reloads.hear(post, process, kind, body)

    def _take_ask(self, asker: tuple[Process, int]) -> None:
        if self._orders:
            self._reloads.turn_down(asker, "the node is stopping")
        elif self._upgrades.is_under_way:
            self._reloads.turn_down(asker, "an upgrade is under way: ask again when it is done")
        else:
            self._reloads.ask(asker)

    def _note_ready(self, post: Post, process: Process) -> None:
        if process is post.successor:
            log.info("worker %d is replaced (pid %d)", post.number, process.pid)
            self._upgrades.succeeds(post)
        elif post.was_ready:
            log.info("worker %d is back (pid %d)", post.number, process.pid)
        elif post is self._posts[0] and not self._orders:
            for other in self._posts[1:]:
                other.due = 0.0
        post.note_ready(process)

    @property
    def _watches(self) -> bool:
        """Whether there are workers to watch: not while all of them stop."""
        return not self._orders and any(process.ready_at is not None for _, process in self._posts.processes())

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
            shared, process = post.seat.shared, post.holder
            if process is None or process.ready_at is None or process.is_hung or self._orders:
                continue
            if shared.standing[post.number] != Standing.SERVING:
                continue  # closing the disks may take its time
            stood = now - max(shared.last_beat(post.number), process.ready_at, self._awake_since)
            if stood > self._reloads.plan.stall_seconds:
                process.is_hung = True
                log.error("worker %d (pid %d) has hung for %.1f s: killing it", post.number, process.pid, stood)
                process.kill()
        self._kill_overdue(now)

    def _kill_overdue(self, now: float) -> None:
        """Kill workers that were replaced, and don't end in the time that they have."""
        until = now - self._reloads.plan.drain_timeout_seconds - _OVERDUE_SECONDS
        for post in self._posts:
            for process in post.retired:
                if process.retired_at < until and not process.is_hung:
                    process.is_hung = True
                    log.error(
                        "worker %d (pid %d), which was replaced, doesn't end: killing it", post.number, process.pid
                    )
                    process.kill()

    def _reap(self, post: Post, process: Process) -> None:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        was_holder = process is post.holder
        if was_holder and post.successor is None:
            post.seat.shared.standing[post.number] = Standing.DOWN
            post.seat.shared.beat(post.number, 0.0)
        post.lose(process)
        if was_holder:
            self._reloads.lose(post)
        if self._orders:
            stopped_in_time = process.ready_at is None and -code in (signal.SIGTERM, signal.SIGINT)
            if code != 0 and not stopped_in_time:
                log.error("worker %d (pid %d) %s", post.number, pid, fate(code))
                self._code = self._code or 1
            return
        if code == UNUSABLE and not post.was_ready:
            self._code = UNUSABLE
            self._stop("settings can't be used")
            return
        self._upgrades.lose(post, process, code, self._reloads.edition)
        if was_holder and post.successor is None:
            served = 0.0 if process.ready_at is None else time.monotonic() - process.ready_at
            delay = post.put_off(served)
            post.seat.shared.alarms.note_death()
            log.error("worker %d (pid %d) %s; replacing it in %.1f s", post.number, pid, fate(code), delay)
        elif code != 0:
            log.error("worker %d (pid %d), which was replaced, %s", post.number, pid, fate(code))

    # stopping

    def _stop(self, why: str) -> None:
        """The first call drains the workers; the second stops them at once."""
        self._orders += 1
        if self._orders > 1:
            self._kill_at = time.monotonic() + _KILL_SECONDS
            log.warning("%s again: stopping without waiting for transfers", why)
        else:
            log.info("%s: stopping %d workers", why, len(self._posts))
            self._notifier.stopping(f"{why}: finishing what runs")
        self._reloads.stop()
        self._upgrades.stop()
        for post in self._posts:
            post.due = None
            for process in post.processes:
                process.tell(Kind.DRAIN if self._orders == 1 else Kind.STOP)
            post.sockets.close()  # the workers' own copies alone keep them open
