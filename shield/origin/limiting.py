"""The conductor's work on limits: it learns from refusals how many fetches an origin bears, and leases places to all
workers. `rules.throttling` decides.
"""

from __future__ import annotations

import logging
import math

from shield.complaints import Complaints
from shield.leases import GateReport, Leases
from shield.origin.origin import Origin
from shield.records import Came
from shield.rules.throttling import FetchLimit, LimitEvidence, leases

log = logging.getLogger("shield.origin")

_TURN_STEPS = 2  # after which other workers have places, where there are fewer places than workers


class Limiting:
    """The limits of all origins of a node, as one worker learns them while it conducts."""

    def __init__(self) -> None:
        self._complaints = Complaints(log)
        self._learned: dict[str, _Learned] = {}

    def step(self, origin: Origin, now: float) -> bool:
        """Advance an origin's limit and its leases; four times a second. Returns whether it is throttling."""
        found = Leases(origin.seen)
        held = found.held(now)
        learned = self._learned.setdefault(origin.name, _Learned())
        reports = [report for _, report in held]
        before = found.limit
        seen = learned.evidence(reports, found, before, now)
        limit = before.after(seen, now, most=origin.most)
        if limit is not before:
            found.publish(limit)
        room = limit.room(now)
        learned.steps += 1
        granted = leases(room, [lease for lease, _ in held], turn=learned.steps // _TURN_STEPS)
        found.grant(
            [None if lease.wanted is None else places for (lease, _), places in zip(held, granted, strict=True)]
        )
        self._say(origin.name, learned, seen, limit, before, now)
        return learned.is_throttled

    def _say(
        self, name: str, learned: _Learned, seen: LimitEvidence, limit: FetchLimit, before: FetchLimit, now: float
    ) -> None:
        if limit.closed_until > max(before.closed_until, now):
            text = "origin %s: throttled: it asks to be left alone for %.0f s"
            self._complaints.say((name, "closed"), now, text, name, limit.closed_until - now)
        elif seen.throttled:
            text = "origin %s: throttled: it refused %d of %d requests at once as too many; limit now %d"
            said = name, seen.throttled, max(seen.in_flight, seen.throttled), int(limit.limit)
            self._complaints.say((name, "throttled"), now, text, *said)
        if seen.throttled or limit.closed_until > now:
            learned.is_throttled = True
        elif learned.is_throttled and not seen.share:
            learned.is_throttled = False
            text = "origin %s: recovered: it refused none of its requests for 10 s; limit now %d"
            log.warning(text, name, int(limit.limit))


class _Learned:
    """This conductor's memory of one origin."""

    __slots__ = ("_batch", "is_throttled", "refused", "steps")

    def __init__(self) -> None:
        self.refused: dict[int, int] = {}  # by worker: refusals until the last step
        self._batch = (0, 0)  # requests at once, and refusals, of the last cut
        self.steps = 0
        self.is_throttled = False

    def evidence(
        self, reports: list[GateReport | None], shared: Leases, limit: FetchLimit, now: float
    ) -> LimitEvidence:
        """The news in the reports of all workers; None: the worker is gone."""
        throttled = 0
        for worker, report in enumerate(reports):
            if report is None:
                self.refused.pop(worker, None)
                continue
            # Of a worker that is new here, or that was replaced, it isn't known which are new.
            throttled += max(0, report.refused - self.refused.get(worker, report.refused))
            self.refused[worker] = report.refused
        there = [report for report in reports if report is not None]
        lately, in_flight = shared.lately(now), sum(report.busiest for report in there)
        if throttled:
            before = self._batch if limit.is_settling(shared.p95, now) else (0, 0)
            in_flight, throttled = self._batch = max(before[0], in_flight), before[1] + throttled
        return LimitEvidence(
            in_flight=in_flight,
            throttled=throttled,
            share=lately[Came.THROTTLED] / max(1, sum(lately)),
            closed_until=max((report.paused_until for report in there), default=-math.inf),
            p95=shared.p95,
            is_answering=lately[Came.OK] + lately[Came.ABSENT] > 0,
        )
