"""Ramps of origins (`rules.ramp`): orders of operators, the steps by what all workers have seen, and a file.

Ramps are in the memory that all workers share. The conductor's worker advances them every few seconds; any worker
takes orders. The file is for the time while the node is stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from shield import kept
from shield.kept import KeptFile
from shield.origin.origins import Origins
from shield.origin.prober import Doubt
from shield.ramp_table import RampSlot
from shield.ramping import RampView
from shield.rules.health import Flag, HealthState
from shield.rules.hints import RampsElsewhere
from shield.rules.ramp import STEPS, WINDOW_FETCHES, Ramp, RampEnd, RampSample, RampStatus

log = logging.getLogger("shield.origin")

STEP_SECONDS = 5
"""Between two looks at the records, whose ring has ten seconds."""

FILE = "ramps.json"
_KEEP_SECONDS = 60.0  # between two writes of counts
_DOUBT_SECONDS = 3600.0  # for which the removal of doubtful entries is tried


@dataclass(frozen=True, slots=True)
class RampAnswer:
    """The result of an order. `problems` are the reasons of a refusal; without any, it is done."""

    ramp: Ramp | None = None
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()


class Ramps:
    """The ramps of a node, as one of its workers sees them.

    `routes` are the origins of each route by its name, `directory` is the place of the file; None: there is none.
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
        self._now = asyncio.get_running_loop().time
        self._file = KeptFile(directory, FILE)
        self._counted = 0  # whole seconds of `now`, of which the records have been read
        self._kept_at = 0.0
        self._windows: dict[str, int] = {}  # fetches of each newcomer since the last 95th percentile
        self._comparisons: dict[str, tuple[int, int]] = {}
        self._saving: asyncio.Task[object] | None = None
        self.elsewhere: Callable[[str], RampsElsewhere] = lambda name: RampsElsewhere()
        """The reports of other nodes of the cluster on an origin's ramp."""
        self.doubted: Callable[[Doubt], None] = lambda doubt: None
        """Called again and again for a newcomer whose copies differ, though clients were served by it."""

    # orders

    def all(self) -> dict[str, Ramp]:
        """All ramps, past ones too, by the origin's name."""
        found = {origin.name: self._slot(origin.name).load(origin.name) for origin in self._origins.all()}
        return {name: ramp for name, ramp in found.items() if ramp is not None}

    async def start(self, name: str, step: int = 0) -> RampAnswer:
        """Begin with no keys, and compare copies; or at a later step."""
        origin = self._origins.find(name)
        if origin is None:
            return RampAnswer(problems=[f"no origin {name}"])
        before = self._slot(name).load(name)
        if before is not None and before.is_open:
            return RampAnswer(before, [f"{name} has a ramp that is {before.status.value}: abort it first"])
        alone = [route for route, names in self._routes().items() if list(names) == [name]]
        if alone:
            return RampAnswer(problems=[f"route {alone[0]} has no other origin than {name}: all keys are its own"])
        now = self._clock()
        return await self._put(name, Ramp(name, now, now, step))

    async def pause(self, name: str) -> RampAnswer:
        return await self._change(name, lambda ramp: ramp.paused(self._clock()))

    async def resume(self, name: str) -> RampAnswer:
        return await self._change(name, lambda ramp: ramp.resumed(self._clock()))

    async def abort(self, name: str) -> RampAnswer:
        return await self._change(name, lambda ramp: ramp.aborted(self._clock()))

    async def clear(self, name: str) -> RampAnswer:
        """Forget a ramp, whatever its state: the origin serves all keys from now on."""
        origin = self._origins.find(name)
        if origin is None or self._slot(name).load(name) is None:
            return RampAnswer(problems=[f"{name} has no ramp"])
        with self._origins.excluding_others():
            self._slot(name).clear()
        log.warning("origin %s: its ramp is forgotten: it may serve all keys", name)
        return RampAnswer(notes=await self._keep())

    async def _change(self, name: str, change: Callable[[Ramp], Ramp]) -> RampAnswer:
        origin = self._origins.find(name)
        ramp = None if origin is None else self._slot(name).load(name)
        if ramp is None:
            return RampAnswer(problems=[f"{name} has no ramp"])
        try:
            return await self._put(name, change(ramp))
        except ValueError as error:
            return RampAnswer(ramp, [str(error)])

    async def _put(self, name: str, ramp: Ramp) -> RampAnswer:
        with self._origins.excluding_others():
            self._slot(name).store(ramp)
        _say(ramp)
        return RampAnswer(ramp, notes=await self._keep())

    # steps

    def tick(self) -> None:
        """Call once a second."""
        now = int(self._now())
        if not self._origins.conducts:
            self._counted = 0
            return
        if self._counted and now - self._counted < STEP_SECONDS:
            return
        since, self._counted = self._counted, now
        found = self.all()
        for name, ramp in found.items():
            if ramp.is_doubted and 0.0 <= self._clock() - ramp.since < _DOUBT_SECONDS:
                self.doubted(Doubt(name, ramp.since, ramp.began))
        ramps = {name: ramp for name, ramp in found.items() if ramp.is_open}
        if not ramps or not since:
            self._comparisons = {name: self._view(name).comparisons() for name in ramps}
            return
        has_changed = False
        for name, ramp in ramps.items():
            after = ramp.after(self._sample(name, ramp, max(since, now - 9), now), self._clock())
            if after is ramp:
                continue
            with self._origins.excluding_others():
                if self._slot(name).load(name) != ramp:
                    continue  # an order came in between
                self._slot(name).store(after)
            if (after.step, after.status) != (ramp.step, ramp.status):
                has_changed = True
                self._windows.pop(name, None)
                _say(after)
        if has_changed or now - self._kept_at >= _KEEP_SECONDS:
            self._kept_at = now
            self._saving = asyncio.get_running_loop().create_task(self._keep())

    def _sample(self, name: str, ramp: Ramp, since: int, now: int) -> RampSample:
        """Observations of whole seconds since then."""
        origin = self._origins.get(name)
        seen, record = origin.seen, origin.seen.record()
        others = [each.seen for each in self._origins.all() if each is not origin and not each.seen.is_held]
        view = self._view(name)
        fetches, failed = view.fetches(since, now)
        counted = [RampView(each.at, view.slot).fetches(since, now) for each in others]
        compared, differing = view.comparisons()
        before = self._comparisons.get(name, (compared, differing))
        self._comparisons[name] = compared, differing
        self._windows[name] = self._windows.get(name, 0) + fetches
        elsewhere = self.elsewhere(name)
        p95s = [each.p95 for each in others if each.p95 is not None]
        is_window = self._windows[name] >= WINDOW_FETCHES and bool(p95s)
        if is_window:
            self._windows[name] = 0
        return RampSample(
            fetches=fetches,
            failed=failed,
            others_fetches=sum([each for each, _ in counted]),
            others_failed=sum([each for _, each in counted]),
            compared=max(0, compared - before[0]),
            differing=max(0, differing - before[1]),
            proved=elsewhere.proved(ramp.step),
            waits=bool(elsewhere.behind(ramp.step)),
            p95=seen.p95 if is_window else None,
            others_p95=median(p95s) if is_window else None,
            is_out=record.state is HealthState.OPEN or bool(record.flags & Flag.CORRUPT),
            is_ours=self._origins.is_frozen,
        )

    def _slot(self, name: str) -> RampSlot:
        return self._origins.ramp_of(name)

    def _view(self, name: str) -> RampView:
        return RampView(self._origins.get(name).seen.at, self._slot(name))

    # the file

    async def close(self) -> None:
        """Write the file once more."""
        if self._saving is not None:
            await asyncio.wait((self._saving,))
        if self._file.path is not None and self._origins.conducts and self.all():
            await self._keep()

    async def _keep(self) -> tuple[str, ...]:
        """Write the file; a note if it can't be."""
        return await self._file.keep(lambda: content_of(self.all()))


def content_of(ramps: Mapping[str, Ramp]) -> dict[str, object]:
    """The content of the file."""
    return {name: as_json(ramp) for name, ramp in ramps.items()}


def as_json(ramp: Ramp) -> dict[str, object]:
    """A ramp for files and the admin API."""
    end = None if ramp.end is None else ramp.end.name.lower()
    return {**asdict(ramp), "status": ramp.status.value, "end": end}


def load(directory: Path) -> tuple[dict[str, Ramp], str | None]:
    """The ramps in the file, and the reason if it can't be read. Blocks."""
    path = directory / FILE
    try:
        content = kept.load(path)
        return {} if content is None else {str(name): _ramp(value) for name, value in content.items()}, None
    except OSError as error:
        return {}, f"{path}: {error.strerror}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}, f"{path}: isn't a list of ramps"


def _ramp(value: Mapping[str, Any]) -> Ramp:
    end = value["end"]
    made = Ramp(**{**value, "status": RampStatus(value["status"]), "end": RampEnd[end.upper()] if end else None})
    numbers = [each for name, each in asdict(made).items() if name not in ("origin", "status", "end")]
    if not all(isinstance(each, int | float) and each >= 0 for each in numbers) or made.step >= len(STEPS):
        raise ValueError
    return made


def _say(ramp: Ramp) -> None:
    if ramp.status is RampStatus.ABORTED and ramp.end is not RampEnd.OPERATOR:
        why = "" if ramp.end is None else ramp.end.value
        log.error("origin %s: its ramp is aborted at step %d: %s; it serves no keys", ramp.origin, ramp.step, why)
    elif ramp.status is RampStatus.DONE:
        log.warning("origin %s: its ramp is done: it may serve all keys", ramp.origin)
    else:
        share = 100.0 * ramp.share
        log.warning(
            "origin %s: its ramp is %s: it may serve %.0f%% of the keys", ramp.origin, ramp.status.value, share
        )
