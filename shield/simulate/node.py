"""A simulated node: requests go through the real routes, keys, freshness, RAM tier and admission, and are counted.

Responses are assumed to come at once, to be as the log has their status and size, with a strong ETag and, unless the
terms say otherwise, without Cache-Control. Origins support ranges. A part of an object whose place no line tells is
taken to follow the last such part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import Any, NamedTuple, cast

from shield.errors import RequestError
from shield.messages import Request, ResponseHead
from shield.rules.egress import FetchReason
from shield.rules.freshness import Freshness
from shield.rules.logged import SUFFIX, UNKNOWN, LoggedPart
from shield.rules.prices import Price
from shield.rules.routes import Route, Routes
from shield.rules.verdict import Share, Verdict, judge_lookup, judge_response
from shield.shared import SLOTS, Shared
from shield.simulate.disks import SimulatedTier, SimulatedTierTerms
from shield.simulate.entries import SimulatedEntry, SimulatedKey, SimulatedSlice
from shield.simulate.large import LargeObjects, SimulatedReading
from shield.simulate.traffic import HEAD, LoggedTraffic
from shield.store.admission import Admission
from shield.store.disk import PROMOTE_AT
from shield.store.entry import OVERHEAD
from shield.store.fifo import S3Fifo, use
from shield.store.pending import WHOLE

HEAD_BYTES = 400
"""Of a response's head, as stored and as received from an origin: an assumption."""

_GET = Request(b"GET", b"/", [], {})


@dataclass(frozen=True, slots=True)
class SimulationTerms:
    """What a node is like. `memory` and `max_entry` (of one worker; None: an eighth) are bytes; `remembered` are the
    keys that admission to disks knows, None: all that is fetched is admitted. `stated`: seconds of the max-age that
    origins send; None: they send none. `sizes` are those of objects that logs may not tell, by the text of their keys
    behind the space.
    """

    routes: Routes
    memory: int
    max_entry: int | None = None
    workers: int = 1
    tiers: tuple[SimulatedTierTerms, ...] = ()
    slice_bytes: int = 8 << 20
    remembered: int | None = None
    prices: Mapping[str, Price | None] = field(default_factory=dict)
    stated: float | None = None
    head_bytes: int = HEAD_BYTES
    sizes: Mapping[bytes, int] = field(default_factory=dict)


class FetchAccount(NamedTuple):
    """What is counted together."""

    origin: str
    route: str
    reason: str


@dataclass(slots=True)
class FetchCounts:
    requests: int = 0
    received: int = 0  # bytes of heads and bodies
    bodies: int = 0
    classes: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])  # as `bill.CLASSES`


@dataclass(slots=True)
class SimulatedCounts:
    """Of all requests, or of those after a warm-up. `hits` are by tier; a hit that is stale is one, too."""

    requests: int = 0
    refused: int = 0  # no route, or a target that the node answers with an error
    hits: dict[str, int] = field(default_factory=dict)
    guessed: int = 0  # requests for objects whose size no line tells
    guessed_bytes: int = 0  # of bodies from origins
    parts: int = 0  # requests for parts of objects that aren't in RAM
    placed: int = 0  # of these, those whose place no line tells
    crowded: int | None = None  # entries in RAM at the end; None: none ever had to go
    unfit: int = 0  # entries and slices that fit the real disks, but not this sample's share of them
    fetches: dict[FetchAccount, FetchCounts] = field(default_factory=dict)


class _JudgedStatus(NamedTuple):
    """What becomes of a response by its status."""

    is_stored: bool
    freshness: Freshness  # as if it was born at 0

    def at(self, now: float) -> Freshness:
        of = self.freshness
        return Freshness(now, of.lifetime, of.grace, of.keep, of.error_grace)


class SimulatedNode:
    """A node with empty caches, for this share of all keys: it has the same share of room."""

    def __init__(self, terms: SimulationTerms, *, share: float = 1.0) -> None:
        self._terms = terms
        self._routes: list[Route] = list(terms.routes)
        self._number = {route.name: at for at, route in enumerate(self._routes)}
        each = int(terms.memory * share) // terms.workers
        most = min(terms.max_entry or terms.memory // terms.workers // 8, each)
        self._memories = [
            S3Fifo[SimulatedEntry](each, max_entry=most, mark_of=_mark, on_gone=_nothing)
            for _ in range(terms.workers)
        ]
        tiers = [tier.part(share) for tier in terms.tiers]
        keys = sum(tier.capacity for tier in terms.tiers) // (40 << 10)
        self._shared = Shared(slots=max(SLOTS, 1 << max(keys - 1, 1).bit_length())) if tiers else None
        self._tiers = [SimulatedTier(tier, self._shared.cool) for tier in tiers if self._shared is not None]
        for upper, lower in zip(self._tiers, self._tiers[1:], strict=False):
            upper.leave = lower.take
        self._admissions: list[Admission] = []  # of each worker, for its own keys
        if tiers and terms.remembered is not None:
            remembered = max(1, int(terms.remembered * share) // terms.workers)
            self._admissions = [Admission(remembered) for _ in range(terms.workers)]
            for memory in self._memories:
                memory.on_evict = self._write_late
        self._in_memory = most - OVERHEAD  # without a disk, larger ones are kept nowhere
        size = terms.slice_bytes if tiers else 0
        self._large = LargeObjects(size, self._tiers, self._shared, workers=terms.workers)
        self._judged: dict[tuple[int, int], _JudgedStatus] = {}
        self._now = 0.0
        self.counts = SimulatedCounts()

    # keys

    def keys_of(self, traffic: LoggedTraffic) -> list[SimulatedKey | None]:
        """The key of each target, with the first size of its object that the log tells, or else the one in `sizes`,
        or the median of all that are known; None for a target that is refused.
        """
        resolve, made = self._terms.routes.resolve, dict[bytes, SimulatedKey]()
        sizes, found = traffic.first_sizes(), list[SimulatedKey | None]()
        for number, target in enumerate(traffic.targets):
            try:
                resource = resolve(target)
            except RequestError:
                found.append(None)
                continue
            text = resource.key.text
            key = made.get(text)
            if key is None:
                origin = resource.tried[0] if resource.route.origins else ""
                route = self._number[resource.route.name]
                key = made[text] = SimulatedKey(text, resource.key.digest, route, origin)
                key.owner = resource.key.digest[0] % self._terms.workers
            if key.size < 0:
                key.size = sizes.get(number, -1)
            found.append(key)
        listed = self._terms.sizes
        if listed:
            for key in made.values():
                if key.size < 0:
                    key.size = listed.get(key.named, -1)
        known = [key.size for key in made.values() if key.size >= 0]
        usual = median_low(known) if known else 0
        for key in made.values():
            if key.size < 0:
                key.size, key.is_guessed = usual, True
        for number, least in traffic.farthest().items():
            guessed = found[number]
            if guessed is not None and guessed.is_guessed:
                guessed.size = max(guessed.size, least)
        return found

    # requests

    def replay(self, traffic: LoggedTraffic, *, warm_until: float = 0.0) -> None:
        """All requests; those before `warm_until` fill the caches and don't count."""
        keys, workers, memories = self.keys_of(traffic), self._terms.workers, self._memories
        finds, counts, worker = [memory.find for memory in memories], self.counts, 0
        find, in_memory, is_alone = finds[0], 0, workers == 1 and not self._tiers
        is_warm, parts = False, traffic.parts
        for number, (now, target, status, size) in enumerate(traffic):
            if not is_warm and now >= warm_until:
                is_warm, in_memory = True, 0
                self.counts = counts = SimulatedCounts()
            counts.requests += 1
            key = keys[target]
            if key is None:
                counts.refused += 1
                continue
            if key.is_guessed:
                counts.guessed += 1
            if size >= 0 and size != key.size and status == 200:
                key.observe(size)
            if workers > 1:
                worker = (number * 2654435761 >> 8) % workers
                find = finds[worker]
            entry = find(key.text)
            if entry is not None:
                use(entry.mark)
                if now < entry.plain_hit_until:
                    in_memory += 1
                    if not is_alone:
                        self._note(entry, now)
                    counts.hits["memory"] = in_memory
                    continue
            self._now = now
            self._look_further(key, entry, status, worker, parts.get(number) if parts else None)
            in_memory = counts.hits.get("memory", 0)
        if any(memory.evictions for memory in memories):
            counts.crowded = sum(len(memory) for memory in memories)
        counts.unfit = sum(tier.unfit for tier in self._tiers)

    def _look_further(
        self, key: SimulatedKey, entry: SimulatedEntry | None, status: int, worker: int, part: LoggedPart | None
    ) -> None:
        """Not a plain hit in this worker's RAM."""
        tier = "memory"
        if entry is None and self._tiers:
            entry, tier = self._from_disk(key, worker)
        verdict = self._verdict(key, entry)
        if verdict not in (Verdict.HIT, Verdict.STALE) and key.owner != worker:
            # The worker that owns the key answers the others.
            theirs = self._lookup(key, key.owner)
            told = self._verdict(key, theirs)
            if theirs is not None and told in (Verdict.HIT, Verdict.STALE):
                entry, verdict, tier = theirs, told, "memory"
                self._commit(entry.copy(), worker)
            elif theirs is not None and entry is None:
                entry, verdict = theirs, told  # the owner validates it
        reading = self._reading(key, entry, part)
        is_read = entry is not None and entry.is_large and not status & HEAD
        if verdict in (Verdict.HIT, Verdict.STALE) and entry is not None:
            if not is_read or self._large.read(key, entry, reading, self._now, self._asking(key)):
                hits = self.counts.hits
                hits[tier] = hits.get(tier, 0) + 1
            if verdict is Verdict.HIT:
                return
        if status & HEAD and verdict is not Verdict.STALE:
            self._ask_head(key, entry, status & ~HEAD, worker)
            return
        if entry is not None and verdict is not Verdict.STALE:
            self._lookup(key, worker)  # once more, when the fetch begins
        usable = entry if verdict in (Verdict.STALE, Verdict.REVALIDATE) else None
        if verdict is Verdict.STALE:
            reading = self._reading(key, entry, None)
        self._fetch(key, usable, status & ~HEAD, worker, reading, is_awaited=verdict is not Verdict.STALE)

    def _reading(self, key: SimulatedKey, entry: SimulatedEntry | None, part: LoggedPart | None) -> SimulatedReading:
        """What a request wants of the object."""
        length = key.size if entry is None else entry.length
        if part is None:
            return SimulatedReading(0, length, length, None)
        start, stop, sent = part
        got = length if sent < 0 else sent
        if start == 0 and stop < 0 and key.size > got:
            return SimulatedReading(0, length, min(got, length), None)  # it broke off
        self.counts.parts += 1
        field = None
        if start == UNKNOWN:
            self.counts.placed += 1
            start = key.reached if key.reached < length else 0
            stop = key.reached = min(start + got, length)
        elif start == SUFFIX:
            start, stop, field = max(length - got, 0), length, b"bytes=-%d" % got
        elif stop < 0:
            stop, field = length, b"bytes=%d-" % start
        if start >= length:
            return SimulatedReading(0, length, length, None)
        stop = min(stop, length)
        return SimulatedReading(start, stop, min(start + got, stop), field or b"bytes=%d-%d" % (start, stop - 1))

    def _verdict(self, key: SimulatedKey, entry: SimulatedEntry | None) -> Verdict:
        rules = self._routes[key.route].freshness
        return judge_lookup(_GET, cast(Any, entry), self._now, rules)

    def _fetch(
        self,
        key: SimulatedKey,
        stored: SimulatedEntry | None,
        status: int,
        worker: int,
        reading: SimulatedReading,
        *,
        is_awaited: bool,
    ) -> None:
        """From an origin: the object, or only whether `stored` is still it. `is_awaited`: by a client."""
        judged, now = self._judge(key.route, status), self._now
        # An error's body is small, and the log has it only sometimes.
        length = key.size if status < 300 else 0
        if stored is not None and stored.status == status == 200 and stored.length == length:
            self._count(key, FetchReason.REVALIDATION, 304, 0)
            stored.renew(judged.at(now))
            self._freshen(key, stored, worker)
            if is_awaited and stored.is_large:
                self._large.read(key, stored, reading, now, self._asking(key))
            return
        reason = FetchReason.MISS if stored is None else FetchReason.REVALIDATION
        entry = SimulatedEntry(key, status, length, judged.at(now), self._terms.head_bytes)
        if status == 200 and judged.is_stored and stored is None and self._is_in_parts(length, reading):
            if not self._tiers:
                self._large.pass_on(key, length, reading, self._asking(key))
                return
            if self._large.fetch(key, entry, reading, now, self._asking(key)) is None:
                return
        else:
            self._count(key, reason, status, length)
            if key.is_guessed and status < 300:
                self.counts.guessed_bytes += length
        if not judged.is_stored:
            return
        if self._tiers:
            self._to_disk(key, entry)
            if length > self._terms.slice_bytes:
                return
        self._commit(entry, key.owner)
        if key.owner != worker:
            self._commit(entry.copy(), worker)

    def _is_in_parts(self, length: int, reading: SimulatedReading) -> bool:
        """Whether a fetch may bring less than the whole, or what isn't stored whole."""
        if not self._tiers:
            return length > self._in_memory
        return reading.field is not None or length > self._terms.slice_bytes

    def _asking(self, key: SimulatedKey) -> Callable[[int], None]:
        def ask(length: int) -> None:
            self._count(key, FetchReason.MISS, 206 if length < key.size else 200, length)
            if key.is_guessed:
                self.counts.guessed_bytes += length

        return ask

    def _ask_head(self, key: SimulatedKey, stored: SimulatedEntry | None, status: int, worker: int) -> None:
        """HEAD goes to an origin as it is: it brings no body, but says whether the entry still holds."""
        self._count(key, FetchReason.MISS, status, 0)
        if stored is not None:
            self._lookup(key, worker)  # once more, when the fetch begins
            if stored.status == status == 200 and stored.length == key.size:
                stored.renew(self._judge(key.route, status).at(self._now))
                self._freshen(key, stored, worker)

    def _freshen(self, key: SimulatedKey, entry: SimulatedEntry, worker: int) -> None:
        """An entry was validated: it is stored anew, as in the real store, by the owner and the worker that asked."""
        if not entry.is_large:
            for number in {key.owner, worker}:
                self._commit(entry.copy(), number)
        for tier in self._tiers:
            on_disk = tier.find(key.text)
            if on_disk is not None and on_disk is not entry and on_disk.length == entry.length:
                on_disk.renew(entry.freshness)

    def _judge(self, route: int, status: int) -> _JudgedStatus:
        found = self._judged.get((route, status))
        if found is None:
            fields = ((b"etag", b'"1"'),) if status == 200 else ()
            if self._terms.stated is not None and status < 400:
                fields = (*fields, (b"cache-control", b"max-age=%d" % self._terms.stated))
            rules = self._routes[route].freshness
            head = ResponseHead(status, fields, 0)
            told = judge_response(_GET, head, request_time=0.0, response_time=0.0, rules=rules)
            found = self._judged[route, status] = _JudgedStatus(told.share is Share.STORE, told.freshness)
        return found

    def _count(self, key: SimulatedKey, reason: FetchReason, status: int, length: int) -> None:
        account = FetchAccount(key.origin, self._routes[key.route].name, reason.value)
        found = self.counts.fetches.get(account)
        if found is None:
            found = self.counts.fetches[account] = FetchCounts()
        found.requests += 1
        found.bodies += length
        found.received += length + self._terms.head_bytes
        found.classes[status // 100 - 2 if 200 <= status < 600 else 4] += 1

    # RAM

    def _lookup(self, key: SimulatedKey, worker: int) -> SimulatedEntry | None:
        """What a worker's RAM has. Counts as use."""
        entry = self._memories[worker].find(key.text)
        if entry is not None:
            use(entry.mark)
        return entry

    def _commit(self, entry: SimulatedEntry, worker: int) -> None:
        self._memories[worker].put(entry.key.text, entry)

    # disks

    def _note(self, entry: SimulatedEntry, now: float) -> None:
        """As the node does: once a second for each entry."""
        age = int(now - entry.freshness.born)
        if age != entry.noted and self._shared is not None:
            entry.noted = age
            self._shared.hit(entry.key.digest)

    def _from_disk(self, key: SimulatedKey, worker: int) -> tuple[SimulatedEntry | None, str]:
        """The entry on the fastest disk that has it, and that tier's name. It is in RAM from now on."""
        assert self._shared is not None
        for level, tier in enumerate(self._tiers):
            entry = tier.find(key.text)
            if entry is None:
                continue
            hits = self._shared.hit(key.digest)
            if level and hits >= PROMOTE_AT:
                self._tiers[0].write(entry, self._now)
            if entry.is_large:
                return entry, tier.name
            self._commit(entry.copy(), worker)
            return self._memories[worker].find(key.text) or entry, tier.name
        return None, "memory"

    def _to_disk(self, key: SimulatedKey, entry: SimulatedEntry) -> None:
        first, text = self._tiers[0], key.text
        is_there = any(tier.find(text) is not None for tier in self._tiers)
        for tier in self._tiers[1:]:
            tier.drop(text)  # an older version
        is_admitted = not self._admissions or self._admissions[key.owner].admit(key.digest)
        if is_admitted or not self._tiers[-1].has_reclaimed or is_there:
            self._write(entry)
        else:
            first.drop(text)

    def _write_late(self, text: bytes, entry: SimulatedEntry) -> None:
        if all(tier.find(text) is None for tier in self._tiers):
            self._write(entry)

    def _write(self, entry: SimulatedEntry) -> None:
        first, size = self._tiers[0], self._terms.slice_bytes
        if entry.length <= WHOLE or entry.status != 200:
            first.write(entry.copy(), self._now)
            return
        first.drop(entry.key.text)
        first.write(entry.as_head(size), self._now)
        for number in range(-(-entry.length // size)):
            first.write(SimulatedSlice(entry.key, number, entry.length, size), self._now)


def _mark(entry: SimulatedEntry) -> bytearray:
    return entry.mark


def _nothing(text: bytes, entry: SimulatedEntry) -> None:
    """Nothing else is kept of it."""


def replayed(
    terms: SimulationTerms, samples: Sequence[LoggedTraffic], *, share: float = 1.0, warm_until: float = 0.0
) -> list[SimulatedCounts]:
    """The counts of each sample, each on a node of its own."""
    found = []
    for sample in samples:
        node = SimulatedNode(terms, share=share)
        node.replay(sample, warm_until=warm_until)
        found.append(node.counts)
    return found


def received(counts: SimulatedCounts, of: Iterable[FetchReason] = tuple(FetchReason)) -> int:
    """Bytes from origins for these reasons."""
    names = {reason.value for reason in of}
    return sum(each.received for account, each in counts.fetches.items() if account.reason in names)


def unsized(terms: SimulationTerms, samples: Sequence[LoggedTraffic]) -> set[bytes]:
    """Objects whose size no line of these tells, as `SimulationTerms.sizes` names them."""
    found: set[bytes] = set()
    for sample in samples:
        keys = SimulatedNode(terms).keys_of(sample)
        found.update([key.named for key in keys if key is not None and key.is_guessed])
    return found
