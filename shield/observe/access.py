"""The access log: one line a request, kept in memory and written by a thread, so that no request waits for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO

from shield.outcome import End, Exchange, Outcome

_MAX_LINES = 50_000  # lines that wait; more are counted and dropped, to bound memory


class AccessLog:
    """Writes JSON lines to `stream`. `misses_only` omits plain hits. Call `flush` now and then.

    The context from `alone` is held during each write, for streams shared by several processes.
    """

    def __init__(
        self,
        stream: IO[str],
        *,
        misses_only: bool,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._stream = stream
        self._alone = alone
        self.misses_only = misses_only
        self._lines: list[str] = []
        self._flushing: asyncio.Future[None] | None = None
        self.dropped = 0

    def write(self, exchange: Exchange) -> None:
        """Log an exchange that has ended. Bytes are of the body; `broken` means that not all of it was sent."""
        outcome = exchange.outcome or Outcome()
        if self.misses_only and outcome.word == "hit":
            return
        if len(self._lines) >= _MAX_LINES:
            self.dropped += 1
            return
        line: dict[str, object] = {
            "time": round(exchange.ended, 3),
            "client": exchange.client,
            "method": exchange.method.decode("ascii", "replace"),
            "target": exchange.target.decode("ascii", "replace"),
            "status": exchange.status,
            "bytes": exchange.sent,
            "seconds": round(exchange.total_seconds, 6),
            **outcome.log_fields(),
        }
        if exchange.end is not End.WHOLE:
            line["broken"] = True
        self._lines.append(json.dumps(line, separators=(",", ":")))

    def flush(self) -> None:
        """Hand the collected lines to a thread, unless one is still writing."""
        if not self._lines or (self._flushing is not None and not self._flushing.done()):
            return
        lines, self._lines = self._lines, []
        self._flushing = asyncio.get_running_loop().run_in_executor(None, self._write_out, lines)

    async def close(self) -> None:
        """Write all remaining lines."""
        if self._flushing is not None:
            await self._flushing
        if self._lines:
            self._write_out(self._lines)
            self._lines = []

    def _write_out(self, lines: list[str]) -> None:
        try:
            with self._alone():
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
        except OSError:
            self.dropped += len(lines)
