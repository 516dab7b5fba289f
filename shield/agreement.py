"""A reload among several workers, as the supervisor sees it (two-phase commit): all workers change, or none does.

It has no sockets: decisions are returned as values. Workers that die in between have no vote, since their successors
start with the settings in force at that time.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from enum import Enum

from shield.build.edition import Edition
from shield.line import Kind

VOTE_SECONDS = 30.0
"""Time for workers to prepare. One that is just starting first has to open its disks."""

COMMIT_SECONDS = 10.0


class AgreementState(Enum):
    """The state of a reload, and the supervisor's next step."""

    OPEN = "open"  # votes or confirmations are missing: wait
    REFUSED = "refused"  # tell all workers
    AGREED = "agreed"  # order all workers to change
    DONE = "done"  # all have changed


class Agreement:
    """One reload. `workers` are the running ones; `now` is of a monotonic clock.

    `number` identifies it among all reloads of the node: messages about other ones are late, and are ignored.
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
        """The latest time for the next call of `judge`."""
        return self._deadline

    def hear(self, worker: int, kind: Kind, body: bytes) -> None:
        """Take a worker's message."""
        if kind is not (Kind.DONE if self._is_agreed else Kind.VOTE):
            return
        number, problems = json.loads(body)
        if number == self.number:
            self._missing.discard(worker)
            self.problems.update(dict.fromkeys(problems))

    def lose(self, worker: int) -> None:
        """A worker has died."""
        self._missing.discard(worker)
        self._workers.discard(worker)

    def judge(self, now: float) -> AgreementState:
        """The present state. AGREED is returned once; OPEN and then DONE follow."""
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
