"""The log of requests as they happen, of all workers, for those who ask for it. While nobody does, it costs nothing.

Someone who listens is a stream of one worker, which asks the others twice a second, over their sockets, for the lines
that its query matches. Being asked is what keeps a query alive in a worker: so one that is replaced meanwhile just
begins anew. What is too much is dropped, and said.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from secrets import token_hex
from urllib.parse import parse_qs, urlencode

from shield.observe.accounting import Accounting
from shield.observe.record import record_of
from shield.observe.report import AskOthers
from shield.outcome import Exchange
from shield.rules.log_lines import LogValue
from shield.rules.log_query import LogQuery, LogQueryError, log_query

MOST_STREAMS = 8
"""Of one worker at a time; the next one is refused."""

EVERY_SECONDS = 0.5

_MOST_LINES = 500  # of one query and worker between two times that it is asked
_MOST_EXAMINED = 2500  # requests likewise: what the whole may cost is bounded, too
_FORGOTTEN_SECONDS = 5.0  # after being asked last
_MOST_QUERIES = 64  # of all workers' streams

LiveLine = dict[str, LogValue]


class TooManyStreamsError(Exception):
    """There are as many as there may be."""


@dataclass(slots=True)
class LogBatch:
    """Lines since the last batch, by time; and how many requests weren't looked at, or found no room."""

    lines: list[LiveLine] = field(default_factory=list)
    dropped: int = 0
    unexamined: int = 0

    def encoded(self) -> bytes:
        return json.dumps({"lines": self.lines, "dropped": self.dropped, "unexamined": self.unexamined}).encode()

    def add(self, data: bytes) -> None:
        """Take in another worker's."""
        plain = json.loads(data)
        self.lines += plain["lines"]
        self.dropped += plain["dropped"]
        self.unexamined += plain["unexamined"]


@dataclass(slots=True)
class _LiveQuery:
    """A query of somebody's that this worker matches requests with. `asked`: when it was asked for lines last."""

    query: LogQuery
    asked: float
    batch: LogBatch = field(default_factory=LogBatch)
    examined: int = 0


class LiveLog:
    """One worker's part. Event loop only; `tick` it once a second, and `close` it at the end."""

    def __init__(
        self,
        accounting: Accounting,
        others: AskOthers,
        *,
        clock: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`others` asks the other workers; `pause` waits, and is asyncio's sleep except in tests."""
        self._accounting = accounting
        self._others = others
        self._clock = clock
        self._pause = pause
        self._standing: dict[str, _LiveQuery] = {}
        self._share = 0.0  # of the plain hits that are looked at
        self._streams = 0
        self._closed = asyncio.Event()

    def stream(self, text: str, *, seconds: float | None = None) -> AsyncIterator[LogBatch]:
        """Batches of all workers' lines from now on, two a second, empty ones among them; for so many seconds, or
        until the iterator is closed. Raises LogQueryError, or TooManyStreamsError.
        """
        log_query(text)
        if self._streams >= MOST_STREAMS:
            raise TooManyStreamsError
        return self._batches(token_hex(8), text, seconds)

    async def _batches(self, name: str, text: str, seconds: float | None) -> AsyncIterator[LogBatch]:
        asked = urlencode({"name": name, "query": text}).encode()
        until = None if seconds is None else self._clock() + seconds
        self._streams += 1
        try:
            while not self._closed.is_set():
                batch, answers = self._take(name, text), await self._others(asked)
                for answer in answers:
                    batch.add(answer)
                batch.lines.sort(key=lambda line: float(line["time"]))
                yield batch
                if until is not None and self._clock() >= until:
                    return
                await self._due()
        finally:
            self._streams -= 1
            self._standing.pop(name, None)
            self._plan()

    async def _due(self) -> None:
        """Wait for the next batch, or for `close`: a worker that ends doesn't wait for its streams."""
        waits = [asyncio.ensure_future(self._pause(EVERY_SECONDS)), asyncio.ensure_future(self._closed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    def answer(self, query: bytes) -> bytes:
        """This worker's lines for another one, by its query."""
        asked = parse_qs(query.decode("ascii", "replace"), keep_blank_values=True)
        try:
            return self._take(asked["name"][0], asked["query"][0]).encoded()
        except (KeyError, LogQueryError):  # a worker of another version
            return LogBatch().encoded()

    def tick(self) -> None:
        """Forget queries that nobody asks for any more."""
        now = self._clock()
        for name, standing in list(self._standing.items()):
            if not 0.0 <= now - standing.asked <= _FORGOTTEN_SECONDS:
                del self._standing[name]
                self._plan()

    async def close(self) -> None:
        """End all streams."""
        self._closed.set()
        self._standing.clear()
        self._plan()

    def _take(self, name: str, text: str) -> LogBatch:
        """The lines since the last time. The first time begins the query."""
        now, standing = self._clock(), self._standing.get(name)
        if standing is None:
            if not self._closed.is_set() and len(self._standing) < _MOST_QUERIES:
                self._standing[name] = _LiveQuery(log_query(text), now)
                self._plan()
            return LogBatch()
        batch, standing.batch = standing.batch, LogBatch()
        standing.asked, standing.examined = now, 0
        return batch

    def _plan(self) -> None:
        """Observe the exchanges that queries need: plain hits only if a query may match them."""
        if not self._standing:
            self._accounting.remove(self._note)
            return
        is_about_hits = any(each.query.of_hit() is not False for each in self._standing.values())
        self._accounting.add(self._note, hits=1.0 if is_about_hits else 0.0)

    def _note(self, exchange: Exchange) -> None:
        """An exchange has ended."""
        record: LiveLine | None = None
        for standing in self._standing.values():
            batch = standing.batch
            if standing.examined >= _MOST_EXAMINED:
                batch.unexamined += 1
                continue
            standing.examined += 1
            if record is None:
                record = record_of(exchange)
            if not standing.query.matches(record):
                continue
            if len(batch.lines) < _MOST_LINES:
                batch.lines.append(record)
            else:
                batch.dropped += 1
