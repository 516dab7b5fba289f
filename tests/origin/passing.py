"""Fetches that pass a gate, moved by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from shield.errors import OriginError
from shield.origin.gate import Gate
from shield.origin.want import Want

FAR = 1e9


class Waiting(list[int]):
    """Those for whom something is fetched, all of them clients."""

    @property
    def clients(self) -> int:
        return len(self)


class Fetch:
    """A fetch that passes the gate, step by step."""

    def __init__(self, gate: Gate, want: Want | None = None, *, deadline: float = FAR, clients: int = 1) -> None:
        self.want = want or Want(b"GET", b"/a", readers=Waiting(range(clients)))
        self.gate = gate
        self.error: OriginError | None = None
        self.has_place = False
        self._place: asyncio.Future[bool] | None = None
        self._waits = gate.wait(self.want, deadline) if gate.used >= gate.room else None
        if self._waits is None:
            self._enter()
        else:
            self._run(self._waits)

    @property
    def waits(self) -> bool:
        return self._waits is not None

    def go_on(self) -> Fetch:
        """Let its task run, if it can."""
        if self._waits is not None and self._place is not None and self._place.done():
            self._run(self._waits)
        return self

    def _run(self, waits: Coroutine[Any, Any, None]) -> None:
        try:
            self._place = waits.send(None)
            return
        except StopIteration:
            self._enter()
        except OriginError as error:
            self.error = error
        self._waits = None

    def _enter(self) -> None:
        self.has_place = True
        self.gate.used += 1

    def leave(self) -> None:
        """Its response has arrived, or it failed."""
        self.has_place = False
        self.gate.used -= 1
        if self.gate.waiting:
            self.gate.admit()

    def cancel(self) -> None:
        assert self._waits is not None
        with pytest.raises(asyncio.CancelledError):
            self._waits.throw(asyncio.CancelledError())
        self._waits = None
