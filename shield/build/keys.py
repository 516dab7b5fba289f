"""Credentials of origins that come from commands and clouds' chains, obtained again before they expire.

Each worker does so for itself, by threads. If a source fails, the old credentials stay in use, and a warning is
logged; new ones are tried first (`origin.rotation`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from shield.build.origins import key_source
from shield.chance import draw
from shield.complaints import Complaints
from shield.config.credentials import CredentialSettings
from shield.config.settings import Settings
from shield.errors import CredentialsError
from shield.origin.origins import Origins
from shield.rules.alarms import AlarmCause, AlarmKind
from shield.rules.key_renewal import next_in

log = logging.getLogger("shield.secrets")

_LOOK_SECONDS = 5.0  # between two attempts after refusals

FIRST_SECONDS = 5.0
"""How long a starting worker waits for credentials; later ones are used when they arrive."""


class ObtainedKeys:
    """Obtains the credentials of all origins with a source of their own. A service of the node.

    Made and used within one event loop.
    """

    name = "credentials from elsewhere"

    def __init__(self, origins: Origins, *, clock: Callable[[], float], chance: Callable[[], float] = draw) -> None:
        self._origins = origins
        self._clock = clock
        self._chance = chance
        self._loops: dict[str, _Loop] = {}
        self._is_open = False

    def follow(self, settings: Settings) -> None:
        """Use the sources of these settings from now on."""
        wanted = {name: made for name, each in settings.origins.items() if (made := each.credentials) is not None}
        for name in [name for name, loop in self._loops.items() if wanted.get(name) != loop.settings]:
            self._loops.pop(name).stop()
        for name, given in wanted.items():
            if name not in self._loops:
                self._loops[name] = _Loop(name, given, self._origins, self._clock, self._chance)
                if self._is_open:
                    self._loops[name].start()
            self._origins.get(name).renew = self._loops[name].look

    async def open(self) -> None:
        """Obtain the first ones, for a few seconds at most: a node can serve hits without any."""
        self._is_open = True
        for loop in self._loops.values():
            loop.start()
        if self._loops:
            await asyncio.wait([loop.first for loop in self._loops.values()], timeout=FIRST_SECONDS)

    def tick(self) -> None:
        """Does nothing: each source has a task."""

    def troubles(self) -> list[AlarmCause]:
        """Sources that have failed the last time."""
        return [
            AlarmCause(AlarmKind.CREDENTIALS, name, f"origins.{name}.credentials: can't be renewed: {loop.problem}")
            for name, loop in self._loops.items()
            if loop.problem is not None
        ]

    async def close(self) -> None:
        for loop in self._loops.values():
            loop.stop()
        self._loops.clear()


class _Loop:
    """Obtains the credentials of one origin, again and again."""

    def __init__(
        self,
        name: str,
        settings: CredentialSettings,
        origins: Origins,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._name = name
        self._source = key_source(settings)
        self._origins = origins
        self._clock = clock
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._complaints = Complaints(log)
        self.problem: str | None = None  # of the last attempt
        self._failures = 0
        self._expires: float | None = None
        self._asked = asyncio.Event()
        self._obtained_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self.first: asyncio.Future[None] = self._loop.create_future()
        """Done once the source has been asked for the first time."""
        self._next = self.first

    def start(self) -> None:
        self._task = self._loop.create_task(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for each in (self.first, self._next):
            if not each.done():
                each.set_result(None)

    async def look(self) -> None:
        """Obtain them now, since those in use were refused, and wait for it; at most once in a few seconds."""
        if self._task is None or self._loop.time() - self._obtained_at < _LOOK_SECONDS:
            return
        self._asked.set()
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        while True:
            self._next = self._loop.create_future() if self._next.done() else self._next
            self._asked.clear()
            await self._obtain()
            self._obtained_at = self._loop.time()
            self._next.set_result(None)
            wait = next_in(
                self._clock(),
                expires=self._expires,
                refresh=self.settings.refresh,
                failures=self._failures,
                chance=self._chance(),
            )
            # So that a caller of `look` waits for the next result, not for one that is there.
            self._next = self._loop.create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._asked.wait()

    async def _obtain(self) -> None:
        try:
            credentials = await self._loop.run_in_executor(None, self._source.obtain)
        except CredentialsError as error:
            self._failures += 1
            self.problem = str(error)
            said = "origins.%s.credentials: %s; the old ones stay in use"
            self._complaints.say(self._name, self._loop.time(), said, self._name, error)
            return
        if self._failures:
            log.warning("origins.%s.credentials: obtained again", self._name)
        self._failures, self._expires, self.problem = 0, credentials.expires, None
        keys = self._origins.get(self._name).keys
        if keys is not None and keys.offer(credentials):
            log.info("origins.%s.credentials: new ones were obtained", self._name)
