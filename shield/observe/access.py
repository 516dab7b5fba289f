"""The access log: one line a request, kept in memory and written by a thread, so that no request waits for it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO

from shield.chance import draw
from shield.complaints import Complaints
from shield.outcome import End, Exchange, Outcome

log = logging.getLogger("shield.observe")

MAX_BYTES = 8 << 20
"""Of lines that wait; beyond, they are counted and dropped rather than eat the memory."""

_LONGEST = 1024  # characters of a text in a line: the rest of it is only counted
_OVERHEAD = 64  # bytes of a line in memory besides its text
_BATCH = 64 * 1024


class AccessLog:
    """Writes JSON lines to `stream`. `hits` is the share of hits that it has lines for. Call `flush` now and then.

    The context from `alone` is held during each write, for streams shared by several processes.
    """

    def __init__(
        self,
        stream: IO[str],
        *,
        hits: float = 0.0,
        max_bytes: int = MAX_BYTES,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._stream = stream
        self._alone = alone
        self.hits = hits
        self.max_bytes = max_bytes
        self._lines: list[str] = []
        self._waiting_bytes = 0
        self._writing_bytes = 0  # in the hands of the thread
        self._flushing: asyncio.Future[int] | None = None
        self._now = 0.0  # when the last exchange ended
        self._complaints = Complaints(log)
        self.dropped = 0

    def write(self, exchange: Exchange) -> None:
        """Log an exchange that has ended; plain hits are a sample already. Bytes are of the body; `broken` means that
        not all of it was sent.
        """
        outcome = exchange.outcome or Outcome()
        if not outcome.plain and outcome.word == "hit" and draw() >= self.hits:
            return
        self._now = exchange.ended
        if self.held_bytes >= self.max_bytes:
            self._drop(1, "their reader is too slow")
            return
        line: dict[str, object] = {
            "time": round(exchange.ended, 3),
            "client": exchange.client,
            "method": _cut(exchange.method.decode("ascii", "replace")),
            "target": _cut(exchange.target.decode("ascii", "replace")),
            "status": exchange.status,
            "bytes": exchange.sent,
            "seconds": round(exchange.total_seconds, 6),
            **{
                name: _cut(value) if isinstance(value, str) else value for name, value in outcome.log_fields().items()
            },
        }
        if exchange.protocol is not None:
            line["protocol"] = exchange.protocol
        if exchange.end is not End.WHOLE:
            line["broken"] = True
        text = json.dumps(line, separators=(",", ":"))
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
            self._settle(self._flushing.result())
        if self._lines:
            self._flushing = asyncio.get_running_loop().run_in_executor(None, self._write_out, self._taken())

    async def close(self) -> None:
        """Write all remaining lines."""
        if self._flushing is not None:
            self._settle(await self._flushing)
        if self._lines:
            self._settle(self._write_out(self._taken()))

    def _taken(self) -> list[str]:
        lines, self._lines = self._lines, []
        self._writing_bytes, self._waiting_bytes = self._waiting_bytes, 0
        return lines

    def _settle(self, lost: int) -> None:
        self._flushing, self._writing_bytes = None, 0
        if lost:
            self._drop(lost, "they can't be written")

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        self._complaints.say(why, self._now, "access log: lines are lost: %s; %d so far", why, self.dropped)

    def _write_out(self, lines: list[str]) -> int:
        """Write in a thread, a batch at a time, since each is copied twice on its way; how many lines were lost."""
        begin = lost = 0
        while begin < len(lines):
            end, size = begin, 0
            while end < len(lines) and size < _BATCH:
                size += len(lines[end])
                end += 1
            try:
                with self._alone():
                    self._stream.write("\n".join(lines[begin:end]) + "\n")
                    self._stream.flush()
            except (OSError, ValueError):  # ValueError: the stream is closed
                lost += end - begin
            begin = end
        return lost


def _cut(text: str) -> str:
    """The text, or its beginning and how much there was. No target has a blank, so that one that is cut shows."""
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]} [{more} more]"
