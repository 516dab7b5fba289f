"""What the origin will do next: objects by path, and what was queued in front of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.doubles import s3
from tests.doubles.gate import Gate, Watch
from tests.doubles.ledger import Received
from tests.doubles.s3 import Object, Refusal
from tests.doubles.steps import Step

ANY = "*"

Answer = Sequence[Step]


@dataclass
class Turn:
    """Something to do instead of the ordinary answer, or to it, for so many requests (None: until replaced)."""

    make: Callable[[Received, Callable[[], Answer]], Answer]
    left: int | None


class Plan:
    """Decides each answer. Tests change it from their thread while the loop reads it, under one lock."""

    def __init__(self, watch: Watch, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.skew = 0.0
        self.verify: Callable[[Received, float], Refusal | None] | None = None
        self.default: Callable[[Received], Answer] | None = None
        self.halt: tuple[int | None, Gate | None] = (None, None)
        self.ignored: frozenset[str] = frozenset()
        self._lock = watch.lock
        self._objects: dict[str, Object] = {}
        self._turns: dict[str, deque[Turn]] = {}
        self._greetings: deque[tuple[Answer, int | None]] = deque()

    def now(self) -> float:
        """The origin's own clock, which may be wrong."""
        return self.clock() + self.skew

    def put(self, path: str, entry: Object | None) -> Object | None:
        """Set what is there from now on; returns what was there before."""
        with self._lock:
            before = self._objects.pop(path, None)
            if entry is not None:
                self._objects[path] = entry
            return before

    def queue(self, path: str, turn: Turn) -> None:
        """After what is queued already; a turn without an end gives way to a later one."""
        with self._lock:
            turns = self._turns.setdefault(path, deque())
            if turns and turns[-1].left is None:
                turns.pop()
            turns.append(turn)

    def clear(self, path: str) -> None:
        """Forget what is queued for a path; for ANY, what is queued for every path."""
        with self._lock:
            if path == ANY:
                self._turns.clear()
            self._turns.pop(path, None)

    def greet(self, steps: Answer, times: int | None) -> None:
        with self._lock:
            if self._greetings and self._greetings[-1][1] is None:
                self._greetings.pop()
            self._greetings.append((steps, times))

    def greeting(self) -> Answer:
        """What the next connection is met with before its first byte is read."""
        with self._lock:
            if not self._greetings:
                return ()
            steps, left = self._greetings[0]
            if left is not None:
                if left <= 1:
                    self._greetings.popleft()
                else:
                    self._greetings[0] = (steps, left - 1)
            return steps

    def answer(self, request: Received) -> Answer:
        """The steps for this request; takes its turn off the queue."""
        with self._lock:
            turn = self._next_turn(request.path) if self._turns else None
            if turn is None:
                return self.ordinary(request)
            return turn.make(request, lambda: self.ordinary(request))

    def ordinary(self, request: Received) -> Answer:
        """What a healthy origin says: signature first, then the object, as S3 does."""
        now = self.now()
        if self.verify is not None:
            refusal = self.verify(request, now)
            if refusal is not None:
                return s3.error(request, refusal, now=now)
        if self.ignored:
            request = replace(request, fields=[line for line in request.fields if line[0] not in self.ignored])
        entry = self._objects.get(request.path)
        if entry is None:
            return self.default(request) if self.default else s3.error(request, Refusal("NoSuchKey"), now=now)
        if request.method not in ("GET", "HEAD"):
            return s3.error(request, Refusal("MethodNotAllowed"), now=now)
        return entry.answer(request, now)

    def _next_turn(self, path: str) -> Turn | None:
        for key in (path, ANY):
            turns = self._turns.get(key)
            if not turns:
                continue
            turn = turns[0]
            if turn.left is not None:
                turn.left -= 1
                if turn.left <= 0:
                    turns.popleft()
            return turn
        return None


def wall_clock() -> float:
    return time.time()
