"""A reload among several workers, as the supervisor sees it: every one says yes, and then all change; or none does.

Knows no sockets: what is to be said to whom is handed back by value. Workers that die in between vote for nothing,
since their successors begin with what is in force then.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from enum import Enum

from shield.build.edition import Edition
from shield.line import Kind

VOTE_SECONDS = 30.0
"""For workers to prepare. One that is just starting first has to open its disks."""

COMMIT_SECONDS = 10.0


class AgreementState(Enum):
    OPEN = "open"  # votes are missing
    REFUSED = "refused"  # say so to all
    AGREED = "agreed"  # have all of them change
    DONE = "done"  # all have


class Agreement:
    """One reload. `workers` are those that run; `now` is of a clock that only rises.

    `number` is this one's among all of the node: what is said of another comes too late, and isn't heard.
    """

    def __init__(self, number: int, edition: Edition, workers: Collection[int], now: float) -> None:
        self.number = number
        self.edition = edition
        self.problems: dict[str, None] = {}
        self._missing = set(workers)
        self._workers = set(workers)
        self._deadline = now + VOTE_SECONDS
        self._is_agreed = False

    @property
    def deadline(self) -> float:
        """When it is to be looked at again, at the latest."""
        return self._deadline

    def hear(self, worker: int, kind: Kind, body: bytes) -> None:
        """What a worker said."""
        if kind is not (Kind.DONE if self._is_agreed else Kind.VOTE):
            return
        number, problems = json.loads(body)
        if number == self.number:
            self._missing.discard(worker)
            self.problems.update(dict.fromkeys(problems))

    def lose(self, worker: int) -> None:
        """It has died."""
        self._missing.discard(worker)
        self._workers.discard(worker)

    def judge(self, now: float) -> AgreementState:
        """How it stands. Once AGREED was given, DONE or OPEN follow."""
        if self._is_agreed:
            return AgreementState.OPEN if self._missing and now < self._deadline else AgreementState.DONE
        if self._missing and now >= self._deadline:
            for worker in sorted(self._missing):
                self.problems[f"worker {worker} said nothing for {VOTE_SECONDS:g} s"] = None
            return AgreementState.REFUSED
        if self._missing:
            return AgreementState.OPEN
        if self.problems:
            return AgreementState.REFUSED
        self._is_agreed = True
        self._missing = set(self._workers)
        self._deadline = now + COMMIT_SECONDS
        return AgreementState.AGREED
