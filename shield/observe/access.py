"""The access log: one line a request, gathered in memory and written by a thread, so that no request waits for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO

from shield.messages import Request
from shield.outcome import Outcome

_MAX_LINES = 50_000  # lines that wait; beyond, they are counted and dropped rather than eat the memory


class AccessLog:
    """Writes JSON lines to `stream`. `misses_only` leaves out plain hits. Call `flush` now and then.

    What `alone` gives is held during each write, where several processes write to one stream.
    """

    def __init__(
        self,
        stream: IO[str],
        *,
        misses_only: bool,
        clock: Callable[[], float],
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._stream = stream
        self._alone = alone
        self.misses_only = misses_only
        self._clock = clock
        self._lines: list[str] = []
        self._flushing: asyncio.Future[None] | None = None
        self.dropped = 0

    def write(
        self,
        request: Request,
        outcome: Outcome,
        *,
        peer: str,
        status: int,
        sent: int,
        seconds: float,
        clean: bool = True,
    ) -> None:
        """Note one finished request. `sent` counts body bytes; not `clean` means that the answer was cut off."""
        if self.misses_only and outcome.word == "hit":
            return
        if len(self._lines) >= _MAX_LINES:
            self.dropped += 1
            return
        line: dict[str, object] = {
            "time": round(self._clock(), 3),
            "client": peer,
            "method": request.method.decode("ascii", "replace"),
            "target": request.target.decode("ascii", "replace"),
            "status": status,
            "bytes": sent,
            "seconds": round(seconds, 6),
            **outcome.log_fields(),
        }
        if not clean:
            line["broken"] = True
        self._lines.append(json.dumps(line, separators=(",", ":")))

    def flush(self) -> None:
        """Hand what has gathered to a thread, unless one is still writing."""
        if not self._lines or (self._flushing is not None and not self._flushing.done()):
            return
        lines, self._lines = self._lines, []
        self._flushing = asyncio.get_running_loop().run_in_executor(None, self._write_out, lines)

    async def close(self) -> None:
        """Write all that is left."""
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
