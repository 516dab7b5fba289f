"""A worker's part in reloads and upgrades: it asks the supervisor for them, and does as that says."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
from collections.abc import Callable
from typing import Any

from shield.admin.reload import Reloaded
from shield.admin.upgrade import Upgraded
from shield.build.edition import Edition
from shield.errors import ConfigError
from shield.line import Kind, Line
from shield.node import Prepared, Renewal

log = logging.getLogger("shield.reload")


class Follower:
    """Made and used within one event loop. `adopted` is told of each edition that has come into force here.

    `line` leads to the supervisor.
    """

    def __init__(self, renewal: Renewal, line: Line, adopted: Callable[[Edition], None]) -> None:
        self._renewal = renewal
        self._line = line
        self._adopted = adopted
        self._loop = asyncio.get_running_loop()
        self._askers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._asked = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._preparing: asyncio.Task[None] | None = None
        self._prepared: Prepared | None = None
        self._next: tuple[int, Edition] | None = None

    async def reload(self) -> Reloaded:
        """Have the settings read again, and put in force if they can be used."""
        return Reloaded(**await self._ask(Kind.ASK))

    async def upgrade(self) -> Upgraded:
        """Have the node's program replaced by the version that is installed now."""
        return Upgraded(**await self._ask(Kind.ASK_UPGRADE))

    async def _ask(self, what: Kind) -> dict[str, Any]:
        asker: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._asked += 1
        self._askers[self._asked] = asker
        self._line.send(what, json.dumps(self._asked).encode())
        return await asker

    def take(self, kind: Kind, body: bytes) -> None:
        """What the supervisor says of a reload, or an upgrade."""
        if kind is Kind.PREPARE:
            number, edition = pickle.loads(body)  # of our own parent
            self._preparing = self._loop.create_task(self._prepare(number, edition))
            self._keep(self._preparing)
        elif kind is Kind.COMMIT:
            self._commit()
        elif kind is Kind.REFUSED:
            self._refuse()
        elif kind in (Kind.RESULT, Kind.UPGRADED):
            number, done = json.loads(body)
            asker = self._askers.pop(number, None)
            if asker is not None and not asker.done():
                asker.set_result(done)

    async def close(self) -> None:
        """Wait for what is under way; what was prepared is dropped."""
        for asker in self._askers.values():
            asker.cancel()
        if self._preparing is not None:
            self._preparing.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._prepared is not None:
            await self._prepared.discard()

    async def _prepare(self, number: int, edition: Edition) -> None:
        problems: list[str] = []
        try:
            self._prepared, self._next = await self._renewal.prepare(edition), (number, edition)
        except Exception as error:
            problems = objections(error)
        self._line.send(Kind.VOTE, json.dumps([number, problems]).encode())

    def _commit(self) -> None:
        assert self._prepared is not None and self._next is not None
        prepared, (number, edition) = self._prepared, self._next
        self._prepared = self._next = None
        try:
            prepared.commit()
            self._adopted(edition)
        except BaseException:
            # Half of another regime must not serve. A successor gets the whole of it.
            log.exception("settings that were agreed on can't be put in force: leaving")
            os._exit(1)
        self._line.send(Kind.DONE, json.dumps([number, []]).encode())

    def _refuse(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
        prepared, self._prepared, self._next = self._prepared, None, None
        if prepared is not None:
            self._keep(self._loop.create_task(prepared.discard()))
        self._renewal.note_refusal()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def objections(error: Exception) -> list[str]:
    """Why settings can't be used. A fault of ours is one more reason, and ends nothing."""
    if isinstance(error, ConfigError):
        return list(error.problems)
    log.error("settings can't be reloaded", exc_info=error)
    return [f"internal error: {type(error).__name__}"]


def logged(done: Reloaded, edition: Edition | None = None) -> Reloaded:
    """Log what has become of a reload, and give it back."""
    if done.problems:
        for problem in done.problems:
            log.error("reload refused: %s", problem)
        log.error("settings of generation %d stay in force", done.generation)
        return done
    log.info("reloaded: settings of generation %d are in force", done.generation)
    for note in () if edition is None else edition.loaded.notes:
        log.warning("%s", note)
    if done.waiting:
        log.warning("until a restart these stay as they were: %s", ", ".join(done.waiting))
    return done
