"""Reloads of a node's settings by its supervisor: read once, agreed on by all workers, then in force."""

from __future__ import annotations

import json
import logging
import pickle
import time
from collections.abc import Sequence
from dataclasses import asdict

from shield.admin.reload import Reloaded
from shield.agreement import Agreement, AgreementState
from shield.build.edition import Edition
from shield.follower import logged, objections
from shield.lifecycle.notify import Notifier
from shield.line import Kind
from shield.observe.logs import configure
from shield.posts import Post, Process
from shield.replaced import FileWatch
from shield.worker import Plan

log = logging.getLogger("shield.supervisor")

_WATCH_SECONDS = 1.0  # between two looks at the settings' file


class Reloads:
    """`edition` and `plan` are in force. Call `step` in each turn of the loop."""

    def __init__(
        self, edition: Edition, plan: Plan, posts: Sequence[Post], *, watch: FileWatch | None, notifier: Notifier
    ) -> None:
        self.edition = edition
        self.plan = plan
        self._posts = posts
        self._watch = watch
        self._watched_at = time.monotonic()
        self._notifier = notifier
        self._begun = 0  # so far
        self._agreement: Agreement | None = None  # under way
        self._next_plan = plan  # of what is to be agreed on
        self._is_wanted = False  # as soon as there is none under way
        self._askers: list[tuple[Process, int]] = []  # who wait for what becomes of the next one, with their numbers
        self._told: list[tuple[Process, int]] = []  # and of the one under way

    @property
    def is_under_way(self) -> bool:
        """Then no worker may begin: the settings that will be in force aren't known."""
        return self._agreement is not None

    @property
    def due(self) -> list[float]:
        """When `step` is to be called at the latest."""
        look = [] if self._watch is None else [self._watched_at + _WATCH_SECONDS]
        return [*look, *([] if self._agreement is None else [self._agreement.deadline])]

    def ask(self, asker: tuple[Process, int] | None = None) -> None:
        """Reload as soon as possible; the caller gets the outcome."""
        self._is_wanted = True
        if asker is not None:
            self._askers.append(asker)

    def hear(self, post: Post, process: Process, kind: Kind, body: bytes) -> None:
        """A worker's message about the reload in progress."""
        if self._agreement is not None and process is post.holder:
            self._agreement.hear(post.number, kind, body)

    def lose(self, post: Post) -> None:
        """The holder of a post has died."""
        if self._agreement is not None:
            self._agreement.lose(post.number)

    def turn_down(self, asker: tuple[Process, int], why: str) -> None:
        """Tell an asker that there will be none."""
        process, number = asker
        done = Reloaded(self.edition.generation, (why,))
        process.tell(Kind.RESULT, json.dumps([number, asdict(done)]).encode())

    def stop(self) -> None:
        """Begin none any more."""
        for asker in self._askers:
            self.turn_down(asker, "the node is stopping")
        self._askers, self._is_wanted, self._watch = [], False, None

    def step(self, *, may_begin: bool) -> None:
        """Begin a reload that is wanted, if that may be now, or go on with one."""
        now = time.monotonic()
        if self._watch is not None and now >= self._watched_at + _WATCH_SECONDS:
            self._watched_at = now
            if self._watch.look():
                log.info("the settings' file has changed")
                self._is_wanted = True
        if self._agreement is None and self._is_wanted and may_begin:
            self._is_wanted = False
            self._told, self._askers = self._askers, []
            self._begin()
        if self._agreement is not None:
            self._go_on(self._agreement, now)

    def _go_on(self, agreement: Agreement, now: float) -> None:
        verdict = agreement.judge(now)
        if verdict is AgreementState.REFUSED:
            self._refuse(tuple(agreement.problems))
            return
        if verdict is AgreementState.AGREED:
            self.edition, self.plan = agreement.edition, self.plan.followed_by(self._next_plan)
            settings = self.edition.loaded.settings
            configure(settings.log.level, style=settings.log.format)
            for post in self._posts:
                post.tell(Kind.COMMIT)
            verdict = agreement.judge(now)
        if verdict is AgreementState.DONE:
            self._agreement = None
            edition = self.edition
            self._answer(logged(Reloaded(edition.generation, (), edition.waiting), edition))

    def _begin(self) -> None:
        self._notifier.reloading("reading the settings again", time.monotonic())
        try:
            edition = self.edition.next(time.time())
            self._next_plan = Plan.of(edition.loaded.settings)
        except Exception as error:
            self._refuse(objections(error))
            return
        self._begun += 1
        voters = [post.number for post in self._posts if post.holder is not None]
        self._agreement = Agreement(self._begun, edition, voters, time.monotonic())
        order = pickle.dumps((self._begun, edition))
        for post in self._posts:
            post.tell(Kind.PREPARE, order)

    def _refuse(self, problems: Sequence[str]) -> None:
        self._agreement = None
        self.edition = self.edition.outdated()
        for post in self._posts:
            post.tell(Kind.REFUSED)
        self._answer(logged(Reloaded(self.edition.generation, tuple(problems))))

    def _answer(self, done: Reloaded) -> None:
        refused = "; the last reload was refused" if done.problems else ""
        self._notifier.ready(f"settings of generation {done.generation} are in force{refused}")
        for process, number in self._told:
            process.tell(Kind.RESULT, json.dumps([number, asdict(done)]).encode())
        self._told = []
