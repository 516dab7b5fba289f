"""Compares the object of a fill with the copy of another origin, now and then (`rules.spotchecks`).

Off the way of every request: a few tasks beside the fills, with a budget of bytes, and none while an origin throttles
or the node itself is in trouble.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shield.chance import draw
from shield.complaints import Complaints
from shield.errors import OriginError
from shield.origin.origin import Origin
from shield.origin.origins import Origins
from shield.origin.want import Absent, Fetched, Want
from shield.rules import dates
from shield.rules.budgets import BudgetAct
from shield.rules.conditional import is_strong, is_tag
from shield.rules.egress import FetchReason
from shield.rules.health import Flag
from shield.rules.identity import Proof, Statement, prove, state, with_digests
from shield.rules.routes import Resource
from shield.rules.spotchecks import (
    LARGEST,
    ByteBudget,
    Quarantine,
    SpotCopy,
    SpotResult,
    by_heads,
    differing,
    missing,
    partner,
    suspect,
)
from shield.store.entry import Entry
from shield.store.tiers import Store

log = logging.getLogger("shield.audit")

AT_ONCE = 2
"""Comparisons at a time in a worker; fills that end meanwhile aren't compared."""

DEADLINE_SECONDS = 30.0
"""For one comparison. Nobody waits for it."""


@dataclass(frozen=True, slots=True)
class SpotTerms:
    """The share of fills that are compared, from 0 to 1, and the bytes that may be fetched for it per day."""

    share: float
    bytes_per_day: int


@dataclass(frozen=True, slots=True)
class SpotStatistics:
    """Comparisons by origin and result, bytes fetched for them by origin, and keys in quarantine."""

    results: Mapping[tuple[str, str], int]
    bytes: Mapping[str, int]
    quarantined: int


class SpotChecks:
    """The comparisons of one worker. Event loop only."""

    def __init__(
        self,
        origins: Origins,
        store: Store,
        terms: SpotTerms,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float] = draw,
    ) -> None:
        self._origins = origins
        self._store = store
        self._clock = clock
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._complaints = Complaints(log)
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[str] = Counter()
        self.removed: Callable[[bytes, str], None] = lambda key, origin: None
        """Told of each entry that is removed since its origin's copy is wrong: its key's text, and the origin."""
        self._terms = terms
        self._budget = ByteBudget(terms.bytes_per_day, self._loop.time())

    def use(self, terms: SpotTerms) -> None:
        """Compare by these terms from now on."""
        if terms != self._terms:
            self._terms, self._budget = terms, ByteBudget(terms.bytes_per_day, self._loop.time())

    def filled(self, resource: Resource, entry: Entry) -> None:
        """A fill has ended with this entry."""
        route, name = resource.route, entry.origin
        if entry.is_large:
            return  # in slices, some of which may be missing
        if name is None or entry.head.status != 200 or len(route.origins) < 2 or len(self._tasks) >= AT_ONCE:
            return
        if route.forwarding.any:
            return  # a response for certain fields of a request
        newcomers = self._origins.newcomers
        if not newcomers and self._chance() >= self._terms.share:
            return
        other = partner(
            name,
            [each for each in route.origins if self._can_be_asked(each)],
            primary=next((each.name for each in route.facts if each.is_primary), None),
            newcomers=newcomers,
            chance=self._chance(),
        )
        if other is None or not self._can_be_asked(name):
            return
        task = self._loop.create_task(self._compare(resource, entry, name, self._origins.get(other)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def statistics(self) -> SpotStatistics:
        kept = self._origins.quarantine
        return SpotStatistics(dict(self._results), dict(self._bytes), 0 if kept is None else len(kept))

    async def close(self) -> None:
        """End all comparisons."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _can_be_asked(self, name: str) -> bool:
        origin = self._origins.find(name)
        if origin is None or self._origins.is_frozen or origin.budget.does(BudgetAct.PAUSE):
            return False
        record = origin.seen.record()
        return record.is_good and not record.flags & (Flag.THROTTLED | Flag.AUTH | Flag.DRAINED)

    async def _compare(self, resource: Resource, entry: Entry, name: str, other: Origin) -> None:
        facts = {each.name: each for each in resource.route.facts}

        def copy(origin: str, modified: float | None) -> SpotCopy:
            fact = facts.get(origin)
            if fact is None:
                return SpotCopy(origin, modified=modified)
            return SpotCopy(origin, fact.is_primary, fact.max_lag or 0.0, modified)

        ours = copy(name, entry.last_modified)
        try:
            result, modified = await self._result(resource, entry, ours, other, copy)
        except (OriginError, TimeoutError):
            result, modified = SpotResult.UNKNOWN, None
        theirs = copy(other.name, modified)
        blamed = suspect(ours, theirs) if result.is_wrong else other.name
        self._results[blamed, result.value] += 1
        if result in (SpotResult.SAME, SpotResult.DIFFERENT):
            self._origins.get(other.name).seen.compared(differs=result.is_wrong)
        if result.is_wrong:
            self._put_right(resource, entry, blamed, ours, theirs)
        elif result is SpotResult.ABSENT:
            path = resource.path.decode("ascii", "replace")
            said = "origin %s: it lacks %s, which %s has"
            self._complaints.say(other.name, self._loop.time(), said, other.name, path, name)

    async def _result(
        self, resource: Resource, entry: Entry, ours: SpotCopy, other: Origin, copy: Callable[..., SpotCopy]
    ) -> tuple[SpotResult, float | None]:
        """The result, and the Last-Modified of the other copy. Raises OriginError and TimeoutError."""
        now, deadline = self._clock(), self._loop.time() + DEADLINE_SECONDS
        holds_part = any(each.name == other.name and not each.holds_all for each in resource.route.facts)
        async with asyncio.timeout_at(deadline):
            asked = Want(b"HEAD", resource.path, resource.query, purpose=FetchReason.AUDIT, route=resource.route.name)
            head = await other.fetch(asked, deadline=deadline, clock=self._clock)
            if isinstance(head, Absent):
                return missing(ours, copy(other.name, None), now, holds_part=holds_part), None
            head.response.close()
            said = head.response.head
            theirs = state(said, md5_etags=other.provider.md5_etags)
            mine = await self._loop.run_in_executor(None, _statement, entry)
            modified = dates.parse(said.get(b"last-modified") or b"")
            result = by_heads(_proof(mine, theirs), ours, copy(other.name, modified), now)
            if result is not None:
                return result, modified
            size = theirs.length if theirs.length is not None else entry.length
            if size > LARGEST or not self._budget.take(size, self._loop.time()):
                return SpotResult.UNKNOWN, modified
            fetched = await other.fetch(
                Want(b"GET", resource.path, resource.query, purpose=FetchReason.AUDIT, route=resource.route.name),
                deadline=deadline,
                clock=self._clock,
            )
            if not isinstance(fetched, Fetched):
                return SpotResult.UNKNOWN, modified
            body = await fetched.response.read(LARGEST + 1)
            self._bytes[other.name] += len(body)
            is_same = await self._loop.run_in_executor(None, _is_digest_of, mine.computed, body)
            return SpotResult.SAME if is_same else differing(ours, copy(other.name, modified), now), modified

    def _put_right(self, resource: Resource, entry: Entry, blamed: str, ours: SpotCopy, theirs: SpotCopy) -> None:
        """Don't ask the origin with the wrong copy for it any more, and don't keep its bytes."""
        trusted = theirs.origin if blamed == ours.origin else ours.origin
        log.error(
            "origin %s: its copy of %s has other bytes than that of %s; for some hours it isn't asked for it",
            blamed,
            resource.path.decode("ascii", "replace"),
            trusted,
        )
        if self._origins.quarantine is None:
            self._origins.quarantine = Quarantine()
        self._origins.quarantine.add(resource.path, blamed, self._loop.time(), entry.key.text)
        if blamed == entry.origin:
            self._store.purge([entry.key], lambda: None)
            self.removed(entry.key.text, blamed)


def _statement(entry: Entry) -> Statement:
    """The digests of an entry's bytes. Takes a while: for a thread."""
    return with_digests(Statement(entry.length, entry.etag), entry.blocks)


def _is_digest_of(digest: bytes | None, body: bytes) -> bool:
    return hashlib.sha256(body).digest() == digest


def _proof(mine: Statement, theirs: Statement) -> Proof:
    """As `prove`, but a copy without a strong ETag or a length isn't one with other bytes: those are compared."""
    is_named = theirs.etag is not None and is_tag(theirs.etag) and is_strong(theirs.etag)
    if theirs.length is None or (theirs.length == mine.length and not is_named):
        return Proof.OVERLAP
    return prove(mine, theirs)
