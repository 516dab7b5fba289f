"""Credentials for a CDN's API that come from a command or AWS's chain: obtained when a call needs them, and again
before they expire (`rules.key_renewal`). Nothing runs between calls, since purges may be rare.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from shield.chance import draw
from shield.complaints import Complaints
from shield.errors import CredentialsError
from shield.origin.key_sources import KeySource
from shield.origin.signer import Credentials
from shield.rules.key_renewal import LEAST_SECONDS, next_in

log = logging.getLogger("shield.secrets")


class EdgeKeys:
    """Of one CDN, in one worker. `clock` is epoch seconds; `refresh` those between two runs of a source whose
    credentials tell no expiry.
    """

    def __init__(
        self,
        name: str,
        source: KeySource,
        *,
        refresh: float,
        clock: Callable[[], float],
        chance: Callable[[], float] = draw,
    ) -> None:
        self._name = name
        self._source = source
        self._refresh = refresh
        self._clock = clock
        self._chance = chance
        self._complaints = Complaints(log)
        self._lock = asyncio.Lock()
        self._credentials: Credentials | None = None
        self._due = self._obtained_at = float("-inf")
        self._failures = 0

    async def current(self) -> Credentials:
        """The credentials of now. Those in use stay so while the source fails, until they expire. Raises
        CredentialsError if there are none.
        """
        async with self._lock:
            if self._clock() >= self._due:
                await self._obtain()
        credentials = self._credentials
        assert credentials is not None
        return credentials

    def refused(self) -> None:
        """The CDN refused those in use: obtain others for the next call, unless that was just done."""
        now = self._clock()
        if now - self._obtained_at >= LEAST_SECONDS:
            self._due = now

    async def _obtain(self) -> None:
        problem: CredentialsError | None = None
        try:
            self._credentials = await asyncio.get_running_loop().run_in_executor(None, self._source.obtain)
            self._failures, self._obtained_at = 0, self._clock()
        except CredentialsError as error:
            problem = CredentialsError(f"purge.edges.{self._name}.credentials: {error}")
            self._failures += 1
        now, known = self._clock(), self._credentials
        expires = None if known is None else known.expires
        self._due = now + next_in(
            now, expires=expires, refresh=self._refresh, failures=self._failures, chance=self._chance()
        )
        if problem is None:
            return
        if known is None or (expires is not None and expires <= now):
            self._due = now  # the next call tries again; how often there are any is for the outbox
            raise problem
        self._complaints.say(self._name, now, "%s; the old ones stay in use", problem)
