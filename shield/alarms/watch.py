"""The alarms of a node, as one of its workers sees them: the conductor judges and sends, the others only report.

Every few seconds the conductor gathers all workers' signs, advances `rules.alarms` by one step, and puts messages
into the outbox, which is in the memory of all workers: if this one dies, the next conductor sends what is left, so
that a receiver may get a message twice, under the same id, but not never.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shield.alarms.memory import AlarmMemory
from shield.alarms.posting import Poster
from shield.chance import draw
from shield.complaints import Complaints
from shield.kept import KeptFile
from shield.rules.alarm_signs import AlarmLimits, SignWindow, WorkerSigns, deaths_after, of_deaths
from shield.rules.alarms import KINDS, AlarmCause, AlarmEvent, AlarmKind, AlarmNews, judge
from shield.rules.webhooks import AlarmBook, Dispatch, Webhook, listed, wait_after

log = logging.getLogger("shield.alarms")

LOOK_SECONDS = 5.0
"""Between two looks."""

_REST_SECONDS = 2.0  # of a webhook after an attempt: at most thirty messages a minute


@dataclass(frozen=True, slots=True)
class AlarmTerms:
    """The terms of alarms by the settings. `remind`: seconds between two messages on a lasting one."""

    remind: float = 4 * 3600.0
    limits: AlarmLimits = field(default_factory=AlarmLimits)
    webhooks: tuple[Webhook, ...] = ()


@dataclass(frozen=True, slots=True)
class AlarmSources:
    """Where signs come from: this worker's, the other workers' as they encode them, and the troubles that the
    conductor knows of the whole node, with the kinds of which it knows nothing yet.
    """

    own: Callable[[], WorkerSigns]
    others: Callable[[], Awaitable[Sequence[bytes]]]
    of_node: Callable[[], tuple[list[AlarmCause], set[AlarmKind]]]
    conducts: Callable[[], bool]


class AlarmWatch:
    """A service of the node. Made and used within one event loop."""

    name = "alarms"

    def __init__(
        self,
        memory: AlarmMemory,
        sources: AlarmSources,
        terms: AlarmTerms,
        *,
        node: str,
        clock: Callable[[], float],
        file: KeptFile,
        chance: Callable[[], float] = draw,
        now: Callable[[], float] | None = None,
    ) -> None:
        """`file` has the book for the time while the node is stopped. `clock` gives epoch seconds, `now` those that
        only rise; None: the loop's.
        """
        self._memory = memory
        self._sources = sources
        self._terms = terms
        self._node = node
        self._clock = clock
        self._file = file
        self._chance = chance
        self._now = now or asyncio.get_running_loop().time
        self._window = SignWindow(terms.limits)
        self._looked_at: float | None = None
        self._looking: asyncio.Task[None] | None = None
        self._saving: asyncio.Task[object] | None = None
        self._is_unsaved = False
        self._poster = Poster(node, clock=clock)
        self._posting: dict[str, asyncio.Task[None]] = {}
        self._rests_until: dict[str, float] = {}
        self._complaints = Complaints(log)

    async def open(self) -> None:
        """Does nothing: `tick` does."""

    def use(self, terms: AlarmTerms) -> None:
        """Hold to these from now on. Messages on their way to a webhook of the same name go to its new place."""
        self._terms = terms
        self._window.limits = terms.limits

    def tick(self) -> None:
        """Call once a second."""
        now = self._now()
        if not self._sources.conducts():
            self._looked_at, self._window = None, SignWindow(self._terms.limits)
            return
        if self._looking is None and (self._looked_at is None or now - self._looked_at >= LOOK_SECONDS):
            self._looked_at = now
            self._looking = asyncio.get_running_loop().create_task(self.look())
        self._send(now)
        if self._is_unsaved and self._saving is None:
            self._saving = asyncio.get_running_loop().create_task(self._save())

    async def look(self) -> None:
        """Judge by the signs of now."""
        try:
            signs = [self._sources.own()]
            for data in await self._sources.others():
                try:
                    signs.append(WorkerSigns.read(json.loads(data)))
                except ValueError as error:
                    self._complaints.say("signs", self._now(), "a worker's signs can't be read: %s", error)
            self._judge(signs)
        finally:
            self._looking = None

    def _judge(self, signs: Sequence[WorkerSigns]) -> None:
        window, now, wall = self._window, self._now(), self._clock()
        window.add(signs, now)
        troubles, unknown = self._sources.of_node()
        troubles += window.troubles()
        unknown.update(window.unknown)
        terms, events = self._terms, list[AlarmEvent]()

        def step(book: AlarmBook) -> AlarmBook:
            deaths, seen = deaths_after(book.deaths, book.deaths_seen, self._memory.deaths, wall)
            found = [*troubles, *of_deaths(deaths)]
            states, events[:] = judge(book.states, found, wall, remind=terms.remind, node=self._node, unknown=unknown)
            after = replace(book, states=states, deaths=deaths, deaths_seen=seen)
            after = after.posted(events, terms.webhooks, wall)
            return book if after == book else after

        self._memory.change(step)
        for event in events:
            self._is_unsaved = True
            _say(event)

    # sending

    def _send(self, now: float) -> None:
        book = self._memory.read()
        for webhook in self._terms.webhooks if book.outbox else ():
            if webhook.name in self._posting or now < self._rests_until.get(webhook.name, 0.0):
                continue
            dispatch = book.due(webhook.name, self._clock())
            if dispatch is not None:
                self._posting[webhook.name] = asyncio.get_running_loop().create_task(self._post(webhook, dispatch))

    async def _post(self, webhook: Webhook, dispatch: Dispatch) -> None:
        try:
            result = await self._poster.post(webhook, dispatch.event)
        finally:
            self._posting.pop(webhook.name, None)
            self._rests_until[webhook.name] = self._now() + _REST_SECONDS
        self._is_unsaved = True
        if result.problem is None:
            self._memory.change(lambda book: book.taken(dispatch))
            return
        wait = wait_after(
            dispatch.attempts + 1, status=result.status, retry_after=result.retry_after, chance=self._chance()
        )
        wall = self._clock()
        self._memory.change(lambda book: book.refused(dispatch, wall, wait))
        if wait is None:
            said = "webhook %s: an alarm is given up after %d attempts: %s"
            log.error(said, webhook.name, dispatch.attempts + 1, result.problem)
        else:
            said = "webhook %s: an alarm can't be sent: %s; it is tried again in %.0f s"
            self._complaints.say(webhook.name, self._now(), said, webhook.name, result.problem, wait)

    # for operators

    def own_signs(self) -> WorkerSigns:
        """Those of this worker."""
        return self._sources.own()

    def shown(self) -> dict[str, Any]:
        """Alarms that last, and past ones, the newest first; webhooks with their counts. By any worker."""
        book, node = self._memory.read(), self._node
        active = sorted(book.states.active.values(), key=lambda alarm: alarm.since)
        return {
            "active": [listed(alarm, node) for alarm in active],
            "recent": [listed(alarm, node) for alarm in reversed(book.states.recent)],
            "webhooks": {
                webhook.name: {
                    "format": webhook.format.value,
                    "signed": webhook.key is not None,
                    "waiting": sum(each.webhook == webhook.name for each in book.outbox),
                    **_counts(book, webhook.name),
                }
                for webhook in self._terms.webhooks
            },
        }

    # the file

    async def _save(self) -> None:
        self._is_unsaved = False
        try:
            if self._file.path is not None:
                notes = await self._file.keep(lambda: self._memory.read().plain())
                for note in notes:
                    self._complaints.say("file", self._now(), "alarms: %s", note)
        finally:
            self._saving = None

    async def close(self) -> None:
        """Stop sending; unsent messages are in the file."""
        under_way = (self._looking, *self._posting.values())
        tasks: list[asyncio.Task[Any]] = [task for task in under_way if task is not None]
        for task in tasks:
            task.cancel()
        if self._saving is not None:
            tasks.append(self._saving)
        if tasks:
            await asyncio.wait(tasks)
        if self._is_unsaved:
            await self._save()
        await self._poster.close()


def _counts(book: AlarmBook, webhook: str) -> dict[str, int]:
    found = book.counts.get(webhook)
    return (
        {"sent": 0, "failed": 0, "dropped": 0}
        if found is None
        else {
            "sent": found.sent,
            "failed": found.failed,
            "dropped": found.dropped,
        }
    )


def _say(event: AlarmEvent) -> None:
    alarm = event.alarm
    if event.told is AlarmNews.RESOLVED:
        log.warning("alarm %s: resolved: %s", alarm.kind.value, alarm.text)
    else:
        again = "" if event.told is AlarmNews.BEGAN else "still: "
        log.warning("alarm %s: %s%s. %s", alarm.kind.value, again, alarm.text, KINDS[alarm.kind].remedy)
