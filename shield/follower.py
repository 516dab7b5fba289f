"""A worker's part in reloads: alone it reads the settings itself; one of several does as the supervisor says."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import time
from collections.abc import Callable
from typing import cast

from shield.admin.reload import Reloaded
from shield.build.edition import Edition
from shield.errors import ConfigError
from shield.line import Kind, Line
from shield.node import Prepared, Renewal

log = logging.getLogger("shield.reload")


class Follower:
    """Made and used within one event loop. `adopted` is told of each edition that has come into force here.

    `line` leads to the supervisor, if there is one.
    """

    def __init__(self, renewal: Renewal, line: Line | None, adopted: Callable[[Edition], None]) -> None:
        self._renewal = renewal
        self._line = line
        self._adopted = adopted
        self._loop = asyncio.get_running_loop()
        self._alone = asyncio.Lock()
        self._askers: dict[int, asyncio.Future[Reloaded]] = {}
        self._asked = 0
        self._tasks: set[asyncio.Task[None] | asyncio.Task[Reloaded]] = set()
        self._preparing: asyncio.Task[None] | None = None
        self._prepared: Prepared | None = None
        self._next: tuple[int, Edition] | None = None

    async def reload(self) -> Reloaded:
        """Read the settings again, and have them if they can be used; alone, or through the supervisor."""
        if self._line is None:
            async with self._alone:
                return await self._reload_alone()
        asker: asyncio.Future[Reloaded] = self._loop.create_future()
        self._asked += 1
        self._askers[self._asked] = asker
        self._line.send(Kind.ASK, json.dumps(self._asked).encode())
        return await asker

    def begin(self) -> None:
        """The same, without waiting for what becomes of it."""
        self._keep(self._loop.create_task(self.reload()))

    def take(self, kind: Kind, body: bytes) -> None:
        """What the supervisor says of a reload."""
        if kind is Kind.PREPARE:
            number, edition = pickle.loads(body)  # of our own parent
            self._preparing = self._loop.create_task(self._prepare(number, edition))
            self._keep(self._preparing)
        elif kind is Kind.COMMIT:
            self._commit()
        elif kind is Kind.REFUSED:
            self._refuse()
        elif kind is Kind.RESULT:
            number, done = json.loads(body)
            asker = self._askers.pop(number, None)
            if asker is not None and not asker.done():
                asker.set_result(Reloaded(**done))

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

    async def _reload_alone(self) -> Reloaded:
        edition = cast(Edition, self._renewal.edition)
        try:
            following = await self._loop.run_in_executor(None, edition.next, time.time())
            prepared = await self._renewal.prepare(following)
            prepared.commit()
        except Exception as error:
            self._renewal.note_refusal()
            return logged(Reloaded(edition.generation, objections(error)))
        self._adopted(following)
        return logged(Reloaded(following.generation, (), following.waiting), following)

    async def _prepare(self, number: int, edition: Edition) -> None:
        problems: list[str] = []
        try:
            self._prepared, self._next = await self._renewal.prepare(edition), (number, edition)
        except Exception as error:
            problems = objections(error)
        assert self._line is not None
        self._line.send(Kind.VOTE, json.dumps([number, problems]).encode())

    def _commit(self) -> None:
        assert self._prepared is not None and self._next is not None and self._line is not None
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

    def _keep(self, task: asyncio.Task[None] | asyncio.Task[Reloaded]) -> None:
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
