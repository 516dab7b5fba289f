"""The replacement of a node's program while it serves, as its supervisor carries it out.

The version that runs asks the new one for a trial, and then becomes it: same process, same sockets, same workers. The
new one replaces the workers one by one, each as soon as its successor is ready. If it fails at that, it becomes the
former version again, which goes on with the workers that are there.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import time
from collections.abc import Sequence
from dataclasses import asdict

from shield import __version__
from shield.admin.upgrade import Upgraded
from shield.build.edition import Edition
from shield.lifecycle.handover import Handover, ListenerRecord, become
from shield.lifecycle.notify import Notifier
from shield.lifecycle.program import Program, Trial
from shield.lifecycle.terms import terms_of
from shield.line import Kind
from shield.posts import Post, Posts, Process, fate
from shield.resources import Resources
from shield.signals import Signals, hold_back, let_through

log = logging.getLogger("shield.supervisor")

_READY_SECONDS = 60.0  # for a worker of the new program: it may have disks to open
_AGAIN_SECONDS = 5.0  # after a worker that failed where there is no way back

_UNDER_WAY = "an upgrade is under way: ask again when it is done"
_STOPPING = "the node is stopping"


class Upgrades:
    """`inherited` is what the program before this one has handed over, if there was one: the posts get its workers.
    Call `step` in each turn of the loop.
    """

    def __init__(
        self,
        program: Program,
        posts: Posts,
        resources: Resources,
        signals: Signals,
        *,
        inherited: Handover | None,
        notifier: Notifier,
    ) -> None:
        self._program = program
        self._posts = posts
        self._estate = resources
        self._signals = signals
        self._notifier = notifier
        self._before = "" if inherited is None else inherited.version  # the version
        self._back = () if inherited is None else inherited.back
        self._failed = () if inherited is None else inherited.failed
        self._settings = "" if inherited is None else inherited.settings  # of the version before
        # Pids and their numbers.
        self._askers: list[tuple[int, int]] = [] if inherited is None else list(inherited.askers)
        self._trial: Trial | None = None
        self._is_wanted = False
        self._is_replacing = inherited is not None  # the workers that another program has begun
        self._is_stopping = False
        self._not_before = 0.0  # after one that failed
        if inherited is not None:
            for post, processes in zip(posts, inherited.posts, strict=True):
                post.adopt(processes)
            log.info("upgrade: version %s has taken over from version %s", __version__, inherited.version)

    @property
    def is_under_way(self) -> bool:
        return self._is_wanted or self._trial is not None or self._is_replacing

    @property
    def trial(self) -> Trial | None:
        """To be waited for."""
        return self._trial

    @property
    def due(self) -> list[float]:
        """When `step` is to be called at the latest."""
        times = [] if self._trial is None else [self._trial.deadline]
        if self._is_replacing:
            times += [each.successor.began_at + _READY_SECONDS for each in self._posts if each.successor is not None]
            times += [self._not_before] if self._not_before > time.monotonic() else []
        return times

    def ask(self, asker: tuple[Process, int] | None = None) -> None:
        """Upgrade, as soon as may be; the asker is told what has become of it."""
        why = self._hindrance()
        if why:
            log.error("upgrade refused: %s", why)
            if asker is not None:
                asker[0].tell(Kind.UPGRADED, json.dumps([asker[1], asdict(Upgraded(__version__, [why]))]).encode())
            return
        self._is_wanted = True
        if asker is not None:
            self._askers.append((asker[0].pid, asker[1]))

    def _hindrance(self) -> str:
        """Why no upgrade can be begun; empty if one can."""
        if self._is_stopping:
            return _STOPPING
        if self.is_under_way:
            return _UNDER_WAY
        if not all(post.was_ready for post in self._posts):
            return "the node is still starting: ask again when it is ready"
        if any(post.retired for post in self._posts):
            return "workers of the last upgrade still finish transfers: ask again later, at most after drain.timeout"
        return ""

    def stop(self) -> None:
        """Go on with none, and begin none any more."""
        self._is_stopping = True
        if self._trial is not None:
            self._trial.close()
            self._trial = None
        self._is_wanted = self._is_replacing = False
        self._answer([_STOPPING])

    def step(self, edition: Edition, *, may_begin: bool) -> None:
        """Begin an upgrade that is wanted, if that may be now, or go on with one."""
        now = time.monotonic()
        if self._is_wanted and may_begin:
            self._is_wanted = False
            self._try(edition, now)
        if self._trial is not None:
            self._hear_trial(self._trial, edition, now)
        if self._failed:
            failed, self._failed = self._failed, ()
            self._give_up(failed)
        if self._is_replacing:
            self._replace_next(now)

    # before

    def _try(self, edition: Edition, now: float) -> None:
        log.info("upgrade: %s is asked whether it can take over", self._program)
        self._notifier.status("asking the installed version whether it can take over")
        try:
            self._trial = Trial(self._program, terms_of(edition.loaded.settings).packed(), os.environ, now)
        except OSError as error:
            self._give_up([f"{self._program}: can't be started: {error.strerror}"])

    def _hear_trial(self, trial: Trial, edition: Edition, now: float) -> None:
        try:
            answer = trial.answer(now)
            if answer is None:
                return
            said = json.loads(answer)
            version, problems = str(said["version"]), [str(problem) for problem in said["problems"]]
        except RuntimeError as error:
            problems = [str(error)]
        except (ValueError, LookupError, TypeError):
            problems = [f"{self._program}: isn't a version that can take over"]
        self._trial = None
        if problems:
            self._give_up(problems)
            return
        log.info("upgrade: version %s becomes version %s", __version__, version)
        self._notifier.reloading(f"becoming version {version}", now)
        back, settings = tuple(self._program.back().command), pickle.dumps(edition.loaded).hex()
        handed = self._handover(self._posts.program + 1, edition, back=back, settings=settings)
        self._become(self._program.command, handed)

    def _handover(
        self, program: int, edition: Edition, *, back: Sequence[str] = (), settings: str, failed: Sequence[str] = ()
    ) -> Handover:
        """All that the program of this number needs to go on."""
        resources = self._estate
        return Handover(
            program=program,
            version=__version__,
            words=self._program.words,
            back=tuple(back),
            settings=settings,
            failed=tuple(failed),
            generation=edition.generation,
            memory=resources.shared.kept.memory,
            lock=resources.shared.kept.lock,
            private=str(resources.private.path),
            private_lock=resources.private.lock,
            listening=tuple(
                ListenerRecord(each.key, str(each.address), tuple(made.fileno() for made in each.sockets))
                for each in resources.listening
            ),
            posts=tuple(
                post.record(resources.peers[post.number].fileno() if resources.peers else -1) for post in self._posts
            ),
            askers=tuple(self._askers),
        )

    def _become(self, command: Sequence[str], handed: Handover) -> None:
        """Become another program. Goes on only if that can't be, or the node is to stop: a signal that has come, and
        wasn't taken yet, would be lost.
        """
        hold_back()
        if self._signals.stop_is_waiting:
            let_through()
            return
        try:
            become(command, handed, os.environ)
        except OSError as error:
            self._give_up([*handed.failed, f"{command[0]}: can't be started: {error.strerror}"])

    # after

    def succeeds(self, post: Post) -> None:
        """The successor of a post is ready. Call it before the holder retires: it may have asked for the upgrade."""
        rest = [each for each in self._outdated() if each is not post]
        if self._is_replacing and not rest:
            self._finish()
        elif self._is_replacing:
            self._notifier.status(f"becoming version {__version__}: {len(rest)} workers to go")

    def lose(self, post: Post, process: Process, code: int, edition: Edition) -> None:
        """A process has ended. If it was to show that the new version works, that has failed."""
        if not self._is_replacing or process.program != self._posts.program or process.ready_at is not None:
            return
        problem = f"worker {post.number} of version {__version__} {fate(code)} before it was ready; its log says more"
        log.error("upgrade: %s", problem)
        if self._back:
            back, self._back = self._back, ()
            log.error("upgrade: version %s becomes version %s again", __version__, self._before)
            settings, number = self._settings, self._posts.program - 1
            self._become(back, self._handover(number, edition, settings=settings, failed=[problem]))
        self._not_before = time.monotonic() + _AGAIN_SECONDS

    def _replace_next(self, now: float) -> None:
        outdated = self._outdated()
        for post in self._posts:
            if post.successor is not None:
                if now >= post.successor.began_at + _READY_SECONDS and not post.successor.is_hung:
                    post.successor.is_hung = True
                    post.successor.kill()
                return
        if not outdated:
            if all(post.holder is not None and post.holder.ready_at is not None for post in self._posts):
                self._finish()
        elif now >= self._not_before and not outdated[-1].retired:
            self._posts.begin_successor(outdated[-1])

    def _outdated(self) -> list[Post]:
        """Those whose holders are another program's. The last is the next: the first worker has the admin listener,
        on which somebody may wait for the end.
        """
        program = self._posts.program
        return [post for post in self._posts if post.holder is not None and post.holder.program != program]

    def _finish(self) -> None:
        self._is_replacing, self._back = False, ()
        self._settings = ""
        log.info("upgrade: all workers run version %s", __version__)
        self._notifier.ready(f"serves with {len(self._posts)} workers of version {__version__}")
        self._answer([])

    def _give_up(self, problems: Sequence[str]) -> None:
        for problem in problems:
            log.error("upgrade failed: %s", problem)
        log.error("version %s goes on", __version__)
        self._notifier.ready(f"version {__version__} goes on; the last upgrade failed: {problems[0]}")
        self._answer(problems)

    def _answer(self, problems: Sequence[str]) -> None:
        """Tell those who asked."""
        done = asdict(Upgraded(__version__, problems))
        numbers, self._askers = dict(self._askers), []
        for _, process in self._posts.processes():
            if process.pid in numbers:
                process.tell(Kind.UPGRADED, json.dumps([numbers[process.pid], done]).encode())
