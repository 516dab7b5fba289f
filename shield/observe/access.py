"""The access log: one line a request, kept in memory and written by a thread, so that no request waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shield.chance import draw
from shield.complaints import Complaints
from shield.observe.lines import JsonLines
from shield.observe.output import LogOutput
from shield.observe.record import record_of
from shield.outcome import End, Exchange, Outcome
from shield.rules.log_lines import USUAL, combined_line

log = logging.getLogger("shield.observe")

_OVERHEAD = 64  # bytes of a line in memory besides its text
_BATCH = 64 * 1024
_FAILURE = 500  # the lowest status of requests that are logged in any case


@dataclass(frozen=True, slots=True)
class LogTerms:
    """What is logged, and where: lines of `names`, for all requests but hits, and for a share of the `hits`.

    `path` is a file; None: standard output. Beyond `max_bytes` of lines that wait, they are counted and dropped
    rather than eat the memory.
    """

    style: Literal["json", "combined"] = "json"
    names: Sequence[str] = USUAL
    hits: float = 0.0
    path: Path | None = None
    max_bytes: int = 8 << 20


class AccessLog:
    """Writes lines to `output`. `write` is an observer, for `Accounting`. Call `flush` now and then."""

    def __init__(
        self, output: LogOutput, terms: LogTerms | None = None, *, chance: Callable[[], float] = draw
    ) -> None:
        self._output = output
        self._chance = chance
        self.use(terms or LogTerms())
        self._lines: list[str] = []
        self._waiting_bytes = 0
        self._writing_bytes = 0  # in the hands of the thread
        self._flushing: asyncio.Future[tuple[int, str]] | None = None
        self._now = 0.0  # when the last exchange ended
        self._complaints = Complaints(log)
        self.dropped = 0

    def use(self, terms: LogTerms) -> None:
        """Log by these from now on."""
        self.terms = terms
        self._json = JsonLines(terms.names) if terms.style == "json" else None
        self._output.path = terms.path

    def write(self, exchange: Exchange) -> None:
        """Log an exchange that has ended; plain hits are a sample already. Bytes are of the body; `broken` means that
        not all of it was sent.
        """
        outcome, terms = exchange.outcome or Outcome(), self.terms
        is_hit = (
            outcome.hit and outcome.word == "hit" and exchange.end is not End.BROKEN and exchange.status < _FAILURE
        )
        if is_hit and not outcome.plain and self._chance() >= terms.hits:
            return
        self._now = exchange.ended
        if self.held_bytes >= terms.max_bytes:
            self._drop(1, "their reader is too slow")
            return
        json = self._json
        text = combined_line(record_of(exchange), terms.names) if json is None else json.of(exchange)
        self._lines.append(text)
        self._waiting_bytes += len(text) + _OVERHEAD

    @property
    def held_bytes(self) -> int:
        """Of lines that aren't written."""
        return self._waiting_bytes + self._writing_bytes

    def flush(self) -> None:
        """Hand the waiting lines to a thread, unless one is still writing."""
        if self._flushing is not None:
            if not self._flushing.done():
                return
            self._settle(*self._flushing.result())
        if self._lines:
            self._flushing = asyncio.get_running_loop().run_in_executor(None, self._write_out, self._taken())

    async def close(self) -> None:
        """Write all remaining lines."""
        if self._flushing is not None:
            self._settle(*await self._flushing)
        if self._lines:
            self._settle(*self._write_out(self._taken()))
        self._output.close()

    def _taken(self) -> list[str]:
        lines, self._lines = self._lines, []
        self._writing_bytes, self._waiting_bytes = self._waiting_bytes, 0
        return lines

    def _settle(self, lost: int, why: str) -> None:
        self._flushing, self._writing_bytes = None, 0
        if lost:
            self._drop(lost, f"they can't be written: {why}")

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        self._complaints.say(why, self._now, "access log: lines are lost: %s; %d so far", why, self.dropped)

    def _write_out(self, lines: list[str]) -> tuple[int, str]:
        """Write in a thread, a batch at a time, since each is copied twice; how many lines were lost, and why."""
        begin, lost, why = 0, 0, ""
        while begin < len(lines):
            end, size = begin, 0
            while end < len(lines) and size < _BATCH:
                size += len(lines[end])
                end += 1
            try:
                self._output.write("\n".join(lines[begin:end]) + "\n")
            except (OSError, ValueError) as error:  # ValueError: the stream is closed
                lost, why = lost + end - begin, str(error)
            begin = end
        return lost, why
