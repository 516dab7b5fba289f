"""Origins that operators keep fetches away from, and the file that has their names while the node is stopped.

While it runs, drains are in the memory that all workers share, which also goes to the next version of the program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shield import kept
from shield.kept import KeptFile
from shield.origin.origins import Origins
from shield.rules.drains import notes, objection
from shield.rules.health import HELD_BACK

FILE = "drained-origins.json"


@dataclass(frozen=True, slots=True)
class Drained:
    """The result of a drain or of its end. `problems` are the reasons of a refusal; without any, it is done."""

    problems: Sequence[str] = ()
    notes: Sequence[str] = ()


class Drains:
    """Drains origins and restores them, for all workers of the node.

    `routes` are the origins of each route by its name. `directory` is the place of the file; None: there is none.
    """

    def __init__(
        self,
        origins: Origins,
        routes: Callable[[], Mapping[str, Sequence[str]]],
        *,
        clock: Callable[[], float],
        directory: Path | None,
    ) -> None:
        self._origins = origins
        self._routes = routes
        self._clock = clock
        self._file = KeptFile(directory, FILE)

    def able(self) -> set[str]:
        """Healthy origins that could serve in another one's place."""
        seen = [(origin.name, origin.seen.treated()) for origin in self._origins.all()]
        return {name for name, record in seen if record.is_good and not record.flags & HELD_BACK}

    async def drain(self, name: str, until: float) -> Drained:
        """Keep fetches away from an origin until then: epoch seconds, or infinite."""
        if until <= self._clock():
            return Drained(["until: this time is over"])
        drained = self.in_force()
        others, routes = [each for each in drained if each != name], self._routes()
        refusal = objection(name, others, routes)
        if refusal is not None:
            return Drained([refusal])
        self._origins.get(name).seen.drain.set(until)
        return Drained(notes=(*notes(name, others, routes), *await self._kept()))

    async def restore(self, name: str) -> Drained:
        """Let an origin have fetches again."""
        seen = self._origins.get(name).seen
        if not seen.is_held:
            return Drained(notes=[f"{name} was neither drained nor corrupt"])
        seen.drain.set(0.0)
        seen.notes.pardon(self._clock())
        return Drained(notes=await self._kept())

    def in_force(self) -> dict[str, float]:
        """When each drain ends, by the origin's name."""
        return {each.name: each.seen.drain.until for each in self._origins.all() if each.seen.drain.until}

    async def _kept(self) -> tuple[str, ...]:
        """Write the file; a note if it can't be."""
        return await self._file.keep(lambda: as_json(self.in_force()))


def as_json(drains: Mapping[str, float]) -> dict[str, float | None]:
    """The content of the file: when each drain ends; None without an end."""
    return {name: None if until == math.inf else until for name, until in drains.items()}


def load(directory: Path, now: float) -> tuple[dict[str, float], str | None]:
    """The drains in the file that aren't over, and the reason if it can't be read. Blocks."""
    path = directory / FILE
    try:
        content = kept.load(path)
        if content is None:
            return {}, None
        found = {str(name): _until(value) for name, value in content.items()}
    except OSError as error:
        return {}, f"{path}: {error.strerror}"
    except (ValueError, TypeError, AttributeError):
        return {}, f"{path}: isn't a list of drained origins"
    return {name: until for name, until in found.items() if until > now}, None


def _until(value: object) -> float:
    if value is None:
        return math.inf
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise TypeError
