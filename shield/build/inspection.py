"""The settings of a node as its admin API shows them, and what a reload of them would change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shield.admin.configuration import SettingsInForce
from shield.admin.reload import Compared
from shield.build.renewal import WorkerRenewal
from shield.config.inventory import changes, inventory
from shield.egress.foretelling import EgressForecaster
from shield.errors import ConfigError, StoreError


class Inspection:
    """Of one worker, whose `renewal` has the edition in force."""

    def __init__(self, renewal: WorkerRenewal, forecasts: EgressForecaster, *, clock: Callable[[], float]) -> None:
        self._renewal = renewal
        self._forecasts = forecasts
        self._clock = clock

    async def show(self) -> SettingsInForce:
        """All values in force."""
        edition = self._renewal.edition
        values = await asyncio.get_running_loop().run_in_executor(None, inventory, edition.loaded)
        path = edition.loaded.source.path
        return SettingsInForce(
            edition.generation,
            edition.since,
            None if path is None else str(path),
            edition.waiting,
            [each._asdict() for each in values],
        )

    async def compare(self) -> Compared:
        """What a reload would change. All that it takes is made, and released again."""
        edition = self._renewal.edition
        try:
            wanted = await asyncio.get_running_loop().run_in_executor(None, edition.next, self._clock())
            await (await self._renewal.prepare(wanted)).discard()
        except ConfigError as error:
            return Compared(edition.generation, problems=list(error.problems))
        found = [each._asdict() for each in changes(edition.loaded, wanted.loaded)]
        try:
            notes = await self._forecasts.lifetimes(wanted.loaded.settings.route_table())
        except StoreError as error:
            notes = [f"what other lifetimes cost can't be told: {error}"]
        return Compared(edition.generation, found, notes=notes)
