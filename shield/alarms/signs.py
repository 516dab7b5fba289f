"""Signs of alarms, read from a worker's parts: its own, and those that the conductor has of the whole node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from shield.drill.drills import Drills
from shield.figures import Figures
from shield.origin.ramps import Ramps
from shield.outcome import End, Exchange
from shield.rules.alarm_signs import (
    LATE_SECONDS,
    AlarmLimits,
    OriginSign,
    WorkerSigns,
    of_budgets,
    of_drills,
    of_expiry,
    of_origins,
)
from shield.rules.alarms import AlarmCause, AlarmKind
from shield.rules.drill import unproven
from shield.rules.ramp import RampEnd, RampStatus

TroubleSource = Callable[[], Iterable[AlarmCause]]
"""TroubleSource that another part of a worker knows."""


@dataclass(slots=True, kw_only=True)
class OwnSigns:
    """Those of one worker. Call `tick` once a second, and `observe` with each exchange that is no plain hit."""

    figures: Figures
    limits: AlarmLimits
    troubles: tuple[TroubleSource, ...] = ()
    late: int = 0
    failed: int = 0  # responses with 5xx

    def tick(self) -> None:
        self.late += self.figures.vitals.loop_lag_seconds >= LATE_SECONDS

    def observe(self, exchange: Exchange) -> None:
        outcome = exchange.outcome
        if exchange.status >= 500 and outcome is not None and not outcome.refused:
            self.failed += 1

    def read(self) -> WorkerSigns:
        figures = self.figures
        counters = figures.counters
        ends = sum([counters.requests.get(end.value, 0) for end in End])  # counted in addition
        return WorkerSigns(
            figures.place.worker,
            figures.started,
            responses=counters.hits + sum(counters.requests.values()) - ends,
            failed=self.failed,
            late=self.late,
            dropped=0 if figures.access is None else figures.access.dropped,
            troubles=(*self._own(), *[each for troubles in self.troubles for each in troubles()]),
        )

    def encoded(self) -> bytes:
        """For the conductor."""
        return json.dumps(self.read().plain(), separators=(",", ":")).encode()

    def _own(self) -> Iterator[AlarmCause]:
        figures = self.figures
        if not figures.vitals.configuration.is_latest:
            yield AlarmCause(AlarmKind.RELOAD, "", "new settings were refused; the previous ones stay in force")
        disk = figures.store.statistics().disk
        for tier in () if disk is None else disk.tiers:
            for volume in tier.volumes:
                if volume.health != "well":
                    text = f"tier {tier.name}: {volume.path}: {volume.health}: {volume.reason}"
                    yield AlarmCause(AlarmKind.DISK, volume.path, text)
        clock, certificate = figures.clock(), figures.vitals.certificate_expires
        if certificate is not None:
            left, soon = certificate - clock, self.limits.expiry
            yield from of_expiry(AlarmKind.CERTIFICATE, "", "the certificate of tls", left, soon)
        for origin in figures.origins.all():
            held = origin.statistics().credentials
            if held is not None and held.expires is not None:
                left, soon = held.expires - clock, self.limits.credentials_expiry
                what = f"origin {origin.name}: its credentials"
                yield from of_expiry(AlarmKind.CREDENTIALS, origin.name, what, left, soon)
            if held is not None and held.is_doubted:
                text = f"origin {origin.name}: new credentials aren't accepted; the old ones stay in use"
                yield AlarmCause(AlarmKind.CREDENTIALS, origin.name, text)


def troubles_of_node(figures: Figures, drills: Drills, ramps: Ramps) -> tuple[list[AlarmCause], set[AlarmKind]]:
    """What the conductor alone has to tell, and the kinds of which it knows nothing yet."""
    origins = [OriginSign.of(origin.name, origin.seen.record()) for origin in figures.origins.all()]
    found = of_origins(origins, is_frozen=figures.origins.is_frozen)
    found += of_budgets(figures.budgets.standings())
    found += figures.spikes.troubles()
    for name, ramp in ramps.all().items():
        if ramp.status is RampStatus.ABORTED and ramp.end is not RampEnd.OPERATOR:
            why = "" if ramp.end is None else ramp.end.value
            text = f"origin {name}: its ramp is aborted at step {ramp.step}: {why}"
            found.append(AlarmCause(AlarmKind.RAMP, name, text))
    known = drills.known()
    if known is None:
        return found, {AlarmKind.DRILL}
    overdue = unproven(known.proven, figures.clock())
    found += of_drills(known.last, overdue, is_nightly=drills.terms.nightly is not None)
    return found, set()
