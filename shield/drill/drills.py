"""Drills of one worker: each injects faults and counts; the conductor also watches the drill, ends and reports it.

The order is in memory that all workers share, which each of them looks at four times a second. A worker that starts
in the middle of a drill takes part in it, and one that is cut off from all others ends its part on time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shield.drill.faults import DrilledPaths, DrillFaults, DrillWitness
from shield.drill.history import DrillHistory
from shield.drill.memory import DrillMemory, DrillRow
from shield.observe.counters import Counters
from shield.origin.origin import Origin
from shield.origin.origins import Origins
from shield.outcome import End, Exchange
from shield.rules.drill import (
    LATE_SECONDS,
    PROOF_SECONDS,
    DrillEnding,
    DrillOrder,
    DrillOrigin,
    DrillRun,
    DrillSight,
    advance,
    has_alternative,
    is_drilled,
    is_due,
    is_reportable,
    next_origin,
    objections,
    proofs,
    report,
    text_of,
    unproven,
)
from shield.rules.health import HealthState
from shield.rules.prices import Price

log = logging.getLogger("shield.drill")

LOOK_SECONDS = 0.25
_ALARM_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class DrillTerms:
    """The terms of drills by the settings: `nightly` is the order for each night, at `at` seconds after midnight UTC.

    `prices` are those of origins that have one.
    """

    prices: Mapping[str, Price | None]
    at: float | None = None
    nightly: DrillOrder | None = None  # for any origin
    origins: tuple[str, ...] = ()  # of nightly ones; none: all that have an alternative


@dataclass(frozen=True, slots=True)
class DrillStatistics:
    """`faults` by origin and mode; `proven_seconds` is the age of the last proof of each origin's failover, known to
    the conductor alone.
    """

    running: str | None
    origin: str | None
    mode: str | None
    faults: Mapping[tuple[str, str], int]
    proven_seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DrillKnowledge:
    """What the conductor knows of former drills: the last proof of each origin, or the time from which one has been
    due; and the last report of each.
    """

    proven: Mapping[str, float]
    last: Mapping[str, Mapping[str, Any]]


class Drills:
    """`open` it on its event loop, then `close` it."""

    def __init__(
        self,
        memory: DrillMemory,
        worker: int,
        *,
        origins: Origins,
        routes: Callable[[], Mapping[str, Sequence[str]]],
        counters: Counters,
        terms: DrillTerms,
        history: DrillHistory | None,
        clock: Callable[[], float],
    ) -> None:
        """`routes` gives the origins of each route. `history` None: reports aren't kept."""
        self.terms = terms
        self._routes = routes
        self._memory = memory
        self._worker = worker
        self._origins = origins
        self._counters = counters
        self._history = history
        self._clock = clock
        self._now = asyncio.get_running_loop().time
        self._version = -1
        self._run: DrillRun | None = None
        self._part: _Engagement | None = None
        self._faults: Counter[tuple[str, str]] = Counter()
        self._entries: list[dict[str, Any]] | None = None  # of the history; None: not read
        self._is_reading = False
        self._alarmed: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # life

    def open(self) -> None:
        self._turn()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._leave()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _turn(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._turn)
        self.look(self._now())

    def look(self, now: float) -> None:
        """Called four times a second: follow the drill that is ordered, and conduct it if this is the conductor."""
        memory = self._memory
        if memory.version != self._version:
            self._version = memory.version
            self._run = memory.read()
        if self._part is not None:
            self._part.count_hits()
        is_conductor = self._origins.is_conducted_here
        if is_conductor and self._run is not None and self._run.report is None:
            self._conduct(self._run, now)
        if self._run is not None and self._run.is_on(now):
            self._take_part(self._run)
        elif self._part is not None:
            self._leave()
        if is_conductor:
            self._keep_watch()
        else:
            self._entries = None  # another worker adds to them now

    # every worker's part

    def _take_part(self, run: DrillRun) -> None:
        part = self._part
        if part is None or part.run.number != run.number:
            self._leave()
            row = self._memory.row(self._worker, run.number)
            part = self._part = _Engagement(run, row, self._counters)
        part.join(self._origins)

    def _leave(self) -> None:
        """Inject no more faults."""
        part, self._part = self._part, None
        if part is not None:
            part.leave(self._origins)
            self._faults[part.run.order.origin, part.run.order.mode.value] += part.injected

    # the conductor's part

    def _conduct(self, run: DrillRun, now: float) -> None:
        figures = self._memory.figures(run)
        origins, routes = self._known(), self._routes()
        name = run.order.origin
        target = next((origin for origin in self._origins.all() if origin.name == name), None)
        sight = DrillSight(
            None if target is None else target.seen.treated().state,
            figures,
            has_alternative(name, origins, routes),
            self._origins.is_frozen,
        )
        after = self._memory.change(lambda last: _advanced(last, run, sight, now)) or run
        if after.ended and not run.ended:
            log.warning("%s (%s): over: %s", after, after.order, after.ending.value if after.ending else "")
        if is_reportable(after, now):
            said = report(after, figures, self.terms.prices)
            reported = self._memory.change(lambda last: _reported(last, after.number, said))
            if reported is not None:
                log.warning("%s: %s", after, text_of(said))
                self._keep(said)
        self._run, self._version = self._memory.read(), self._memory.version

    def _keep(self, entry: Mapping[str, Any]) -> None:
        if self._entries is not None:
            self._entries.append(dict(entry))
        if self._history is not None:
            self._start(self._append(self._history, entry))

    async def _append(self, history: DrillHistory, entry: Mapping[str, Any]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(None, history.append, entry)
        except OSError as error:
            log.error("%s: the report of a drill can't be kept: %s", history.path, error.strerror)

    def _keep_watch(self) -> None:
        """Begin the drill of the night, and complain of origins without a proof."""
        if self._entries is None:
            if not self._is_reading:
                self._is_reading = True
                self._start(self._read())
            return
        terms, wall = self.terms, self._clock()
        if terms.nightly is not None and terms.at is not None:
            tried = {each["origin"]: float(each["began_at"]) for each in self._entries if each.get("is_nightly")}
            if is_due(terms.at, wall, max(tried.values(), default=0.0)) and not self._is_busy:
                self._begin_nightly(terms.nightly, tried)
        for name, seconds in unproven(self._proven(), wall).items():
            if wall - self._alarmed.get(name, 0.0) >= _ALARM_SECONDS:
                self._alarmed[name] = wall
                days = int(seconds / 86400.0)
                most = int(PROOF_SECONDS / 86400.0)
                text = (
                    "origin %s: its failover hasn't been proven for %d days, longer than %d: shield drill --origin %s"
                )
                log.error(text, name, days, most, name)

    @property
    def _is_busy(self) -> bool:
        return self._run is not None and self._run.report is None

    def _begin_nightly(self, nightly: DrillOrder, tried: Mapping[str, float]) -> None:
        origins, routes = self._known(), self._routes()
        names = self.terms.origins or tuple(
            [name for name in origins if any(name in through and len(through) > 1 for through in routes.values())]
        )
        name = next_origin([name for name in names if name in origins], tried)
        if name is None:
            return
        said = self.begin(replace(nightly, origin=name, is_nightly=True))
        if isinstance(said, list):
            log.error("the nightly drill at origin %s was refused: %s", name, "; ".join(said))
            self._keep({"origin": name, "began_at": self._clock(), "is_nightly": True, "refused": said})

    async def _read(self) -> None:
        history = self._history
        try:
            loop = asyncio.get_running_loop()
            self._entries = [] if history is None else await loop.run_in_executor(None, history.read)
        except OSError as error:
            self._entries = []
            log.error("%s: the reports of drills can't be read: %s", history and history.path, error.strerror)
        finally:
            self._is_reading = False
        if self.terms.nightly is not None:
            self._note_first()

    def _note_first(self) -> None:
        """Note when each origin was first there, from which on its failover is to be proven."""
        known = {each["origin"] for each in self._entries or ()}
        for origin in self._origins.all():
            if origin.name not in known:
                self._keep({"origin": origin.name, "began_at": self._clock(), "is_first": True})

    def _proven(self) -> dict[str, float]:
        """The last proof of each origin that is in use, or, without any, the time from which one has been due."""
        entries = self._entries or []
        first = {each["origin"]: float(each["began_at"]) for each in entries if each.get("is_first")}
        names = {origin.name for origin in self._origins.all()}
        return {name: since for name, since in {**first, **proofs(entries)}.items() if name in names}

    # for the admin API

    def begin(self, order: DrillOrder) -> DrillRun | list[str]:
        """Begin a drill on all workers; or the reasons against it."""
        origins, now = self._known(), self._now()
        said: list[str] = []

        def begin(last: DrillRun | None) -> DrillRun | None:
            running = "" if last is None or last.report is not None else f"{last}: {last.order}"
            said[:] = objections(order, origins, self._routes(), running=running, is_frozen=self._origins.is_frozen)
            if said:
                return None
            number = 1 if last is None else last.number + 1
            names = tuple([name for name in origins if name != order.origin])
            return DrillRun(number, order, now, self._clock(), names)

        run = self._memory.change(begin)
        if run is None:
            return said
        log.warning("%s begins: %s; stop it with shield drill stop", run, order)
        self.look(now)
        return run

    def stop(self) -> bool:
        """End the drill that runs, on all workers; whether one did."""
        now = self._now()

        def stop(last: DrillRun | None) -> DrillRun | None:
            return (
                None if last is None or not last.is_on(now) else replace(last, ended=now, ending=DrillEnding.STOPPED)
            )

        run = self._memory.change(stop)
        if run is None:
            return False
        log.warning("%s (%s): over: %s", run, run.order, DrillEnding.STOPPED.value)
        self.look(now)
        return True

    def shown(self) -> dict[str, Any]:
        """The last drill as plain values: `state` is none, running, recovering or over."""
        run, now = self._memory.read(), self._now()
        if run is None:
            return {"state": "none"}
        on = run.is_on(now)
        state = "running" if on else "recovering" if run.report is None else "over"
        said = run.report or report(
            replace(run, ended=run.ended or min(now, run.until)), self._memory.figures(run), {}
        )
        if run.report is None and run.ending is None:
            said = {**said, "ending": None, "proved": None}
        return {"state": state, **said}

    async def reports(self) -> list[dict[str, Any]] | None:
        """All reports that are kept, oldest first; None: there is no place for them. Raises OSError."""
        if self._history is None:
            return None
        entries = await asyncio.get_running_loop().run_in_executor(None, self._history.read)
        return [entry for entry in entries if "is_first" not in entry]

    def statistics(self) -> DrillStatistics:
        part, wall = self._part, self._clock()
        faults = Counter(self._faults)
        order = None if part is None else part.run.order
        if part is not None and order is not None:
            faults[order.origin, order.mode.value] += part.injected
        return DrillStatistics(
            running=None if part is None else f"{part.run}: {order}",
            origin=None if order is None else order.origin,
            mode=None if order is None else order.mode.value,
            faults=dict(faults),
            proven_seconds={name: wall - since for name, since in self._proven().items()},
        )

    def known(self) -> DrillKnowledge | None:
        """The knowledge of former drills; None: none yet, or this isn't the conductor."""
        if self._entries is None:
            return None
        names = {origin.name for origin in self._origins.all()}
        reports = [each for each in self._entries if "ending" in each and each["origin"] in names]
        return DrillKnowledge(self._proven(), {each["origin"]: each for each in reports})

    def _known(self) -> dict[str, DrillOrigin]:
        return {origin.name: _known(origin) for origin in self._origins.all()}

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Engagement:
    """One worker's part in a drill: its faults at the origins, and the requests of its clients."""

    def __init__(self, run: DrillRun, row: DrillRow, counters: Counters) -> None:
        self.run = run
        self._row = row
        self._counters = counters
        self._hits = counters.hits
        self._paths = DrilledPaths()
        self._faults: DrillFaults | None = None
        self._target: Origin | None = None
        self._past = 0  # faults at origins that have been replaced by others of their name
        self._where: list[tuple[Origin, DrillFaults | DrillWitness]] = []
        counters.watch = self._ended

    @property
    def injected(self) -> int:
        return self._past + (0 if self._faults is None else self._faults.faults)

    def join(self, origins: Origins) -> None:
        """Called again and again, since origins may be replaced meanwhile."""
        origins.tell_moved(self._moved)
        run = self.run
        for origin in origins.all():
            if origin.drill is not None:
                continue
            if origin.name == run.order.origin:
                self._past = self.injected
                origin.drill = self._faults = DrillFaults(
                    run.order,
                    run.seed,
                    self._row,
                    self._paths,
                    first_byte=origin.pool.first_byte_seconds,
                    md5_etags=origin.provider.md5_etags,
                )
                self._where.append((origin, self._faults))
                self._target = origin
            elif origin.name in run.names:
                origin.drill = witness = DrillWitness(run.names.index(origin.name), self._row, self._is_moved)
                self._where.append((origin, witness))

    def count_hits(self) -> None:
        """Count the plain hits since the last call."""
        hits, self._hits = self._hits, self._counters.hits
        self._row.requests(self._hits - hits)

    def leave(self, origins: Origins) -> None:
        self.count_hits()
        origins.tell_moved(None)
        self._counters.watch = None
        for origin, drill in self._where:
            if isinstance(drill, DrillFaults):
                drill.end()
            if origin.drill is drill:
                origin.drill = None

    def _is_moved(self, path: bytes) -> bool:
        """Whether a request at another origin is there because of the drill."""
        if path in self._paths:
            return True
        gate = None if self._target is None else self._target.gate
        is_held_back = gate is not None and gate.used >= gate.room  # since the origin throttles, or seems to
        return is_held_back and is_drilled(path, self.run.seed, self.run.order.scope)

    def _moved(self, name: str, path: bytes) -> None:
        if name == self.run.order.origin:
            self._paths.add(path)

    def _ended(self, exchange: Exchange) -> None:
        outcome, seconds = exchange.outcome, exchange.first_byte_seconds
        if outcome is not None and (outcome.plain or outcome.refused):
            return  # plain hits are counted together
        is_failed = exchange.status >= 500 or exchange.end is End.BROKEN
        self._row.request(seconds, is_failed=is_failed, is_late=seconds is not None and seconds > LATE_SECONDS)


def _known(origin: Origin) -> DrillOrigin:
    record, profile = origin.seen.treated(), origin.provider
    troubles = [] if record.state is HealthState.UP else [f"{record.state.name.lower()}, {record.why}"]
    troubles += [str(flag.name).lower() for flag in record.flags]
    return DrillOrigin(
        origin.name,
        ", ".join(troubles),
        is_signed=profile.signed,
        passes_errors=origin.passes_errors,
        states_digests=profile.md5_etags or profile.checksums or profile.name == "gcs",
    )


def _advanced(last: DrillRun | None, run: DrillRun, sight: DrillSight, now: float) -> DrillRun | None:
    """The drill after a look, from the last state in memory; None if nothing has changed."""
    if last is None or last.number != run.number:
        return None
    after = advance(last, sight, now)
    return None if after == last else after


def _reported(last: DrillRun | None, number: int, said: Mapping[str, Any]) -> DrillRun | None:
    """The drill with its report; None if another worker has given one."""
    if last is None or last.number != number or last.report is not None:
        return None
    return replace(last, report=said)
