"""All fills of a worker, and the choice of the one that a request shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shield.fill.fill import Fill
from shield.fill.lookout import Lookout, Watched
from shield.fill.means import Means
from shield.fill.readers import OVER, Phase, Reader
from shield.fill.runs import RUN_SLICES
from shield.fill.settlement import HitForMiss, Question, Streaming
from shield.fill.sliced import SlicedFill
from shield.fill.touches import Touches
from shield.fill.whose import may_reuse
from shield.messages import Request
from shield.origin.want import Want
from shield.rules import conditional, exact
from shield.rules.egress import FetchReason
from shield.rules.key import CacheKey
from shield.rules.routes import Resource
from shield.rules.warming import MARK
from shield.store.entry import Entry

WHOLE_SECONDS = 600.0
"""How long an object is fetched as a whole after its origin ignored a range: a repaired origin gets another chance,
and one that never supports ranges costs little.
"""

CUT_OFF = "cut-off"
SAVED = "budget"
"""Details of stale responses that no origin was waited for."""

CUT_OFF_SECONDS = 1.0
"""Between two refreshes of a worker while all origins are bad: probes find out when one is back."""

_REMEMBERED = 10_000  # keys in each table


@dataclass(frozen=True, slots=True)
class FillStatistics:
    in_flight: int
    started: int
    collapsed: int
    readers: int  # now
    most_readers: int  # of one of them
    broken: int
    continued: Mapping[str, int]  # bodies that broke off or were late, by the origin of the rest
    memory_used_bytes: int
    memory_capacity_bytes: int
    hit_for_miss: int
    thrifty: Mapping[str, int]  # requests of addresses over their budget of origin bytes, by the way they were served


class FillTable:
    """All fills of a worker. `join` has no await between looking and adding: one key has one shared fill.

    Made and used within one event loop.
    """

    def __init__(self, means: Means) -> None:
        self._means = means
        self._store = means.store
        self._clock = means.clock
        self._broken = 0
        self._lookout = Lookout()
        self._continued: dict[str, int] = {}  # bodies by origin
        self._shared: dict[bytes, Fill] = {}  # those for GET, by key
        self._shared_heads: dict[bytes, Fill] = {}  # and for HEAD
        self._alive: set[Fill] = set()
        self._sliced: dict[bytes, SlicedFill] = {}  # by key, the latest version
        self._all_sliced: set[SlicedFill] = set()
        self._hit_for_miss: dict[bytes, float] = {}  # until when
        self._whole_only: dict[bytes, float] = {}  # until when
        self._last_parts: dict[bytes, SlicedFill] = {}  # the last slices of such objects that are still read
        self._touches = Touches()
        self._started = 0
        self._collapsed = 0
        self._thrifty: dict[str, int] = {}  # by how
        self._tried_at = -math.inf  # when an entry was refreshed last while all origins were bad

    def begin(self, resource: Resource, request: Request, reader: Reader) -> Fill | None:
        """A new fill of `resource`, joined by `reader`, if that is all that a plain request takes; None: use `join`.

        To be called if nothing is stored.
        """
        text = resource.key.text
        if request.notable or request.method != b"GET" or text in self._shared:
            return None
        if text in self._sliced or text in self._hit_for_miss:
            return None
        fill = self._start(Question(resource, request, _plain(resource, b"GET"), None, shared=True), reader)
        fill.open()
        return fill

    def join(
        self,
        resource: Resource,
        request: Request,
        reader: Reader,
        stored: Entry | None = None,
        *,
        whole: bool = False,
    ) -> tuple[Fill, bool]:
        """The fill of `resource`, joined by `reader`, and whether it was under way already.

        `stored` is an entry that must be validated before use. `whole`: a part doesn't do.
        """
        fill = self._find(resource, request)
        if whole and fill is not None and fill.question.want.tentative:
            fill = None  # it may not do again
        if fill is not None:
            self._collapsed += 1
            fill.join(reader)
            return fill, True
        if resource.key.text in self._hit_for_miss and holds(self._hit_for_miss, resource.key.text, self._clock()):
            want = None if whole else self._wanted(resource, request, None, reader)
            return self.alone(resource, request, reader, want), False
        want = self._validation(resource, request.method, stored)
        if not whole:
            want = self._wanted(resource, request, stored, reader)
        if MARK in request.notable:
            want.purpose = FetchReason.WARM
        return self._start_soon(Question(resource, request, want, stored, shared=True), reader), False

    def alone(
        self,
        resource: Resource,
        request: Request,
        reader: Reader,
        want: Want | None = None,
        *,
        in_slices: bool = True,
    ) -> Fill:
        """A fill for one reader only; `in_slices`: it may continue in slices."""
        if want is None:
            want = _plain(resource, request.method)
            want.purpose = FetchReason.BYPASS
        want.alone = True
        return self._start_soon(Question(resource, request, want, None, shared=False, in_slices=in_slices), reader)

    def _wanted(self, resource: Resource, request: Request, stored: Entry | None, reader: Reader) -> Want:
        """The fetch for a request: for a range of an unknown object, just that part of it.

        Without a disk only whole objects can be kept, so that the whole is fetched until it is known to be too large,
        or the budget is spent.
        """
        asked, text = request.notable.get(b"range"), resource.key.text
        if stored is None and asked is not None and request.method == b"GET" and not self.is_whole_only(text):
            is_never_kept = text in self._hit_for_miss or self._touches.is_large(resource.key.digest)
            size = 0 if is_never_kept else self._store.slice_bytes
            if size or is_never_kept or self.is_thrifty(reader):
                start = exact.first_of(asked)
                touched = bool(size) and start is not None and self.touches_again(resource, start // size, reader)
                span = exact.first_asked(asked, size, most=RUN_SLICES, touched=touched)
                if span is not None:
                    want = _plain(resource, b"GET")
                    want.span, want.tentative = span, True
                    return want
        return self._validation(resource, request.method, stored)

    def is_thrifty(self, reader: Reader) -> bool:
        """Whether nothing beyond its own bytes may be fetched for a reader."""
        return reader.account is not None and reader.account.is_over(self._clock())

    def touches_again(self, resource: Resource, number: int, reader: Reader) -> bool:
        """Whether to fetch a slice of which a reader needs little: another one needed some of it before."""
        if not self._touches.again(resource.key.digest, number, reader):
            return False
        account = reader.account
        if account is None or account.affords(self._store.slice_bytes, self._clock()):
            return True
        self.count_thrifty("exact")
        return False

    def mark_large(self, resource: Resource) -> None:
        """The object is too large to be kept: later ranges are fetched exactly."""
        self._touches.mark_large(resource.key.digest)

    def reading(self, resource: Resource, request: Request, reader: Reader, entry: Entry) -> SlicedFill:
        """The slices of a large entry, joined by `reader`."""
        fill = self.sliced(resource, request, entry)
        fill.join(reader)
        return fill

    def sliced(self, resource: Resource, request: Request, entry: Entry, keeps: bool = True) -> SlicedFill:
        """The fill of this version's slices; `keeps` False: another node stores them."""
        text = resource.key.text
        fill = self.under_way(resource)
        if fill is None or not fill.is_of(entry):
            fill = self._sliced[text] = SlicedFill(self._means, self, resource, request.target, entry, keeps=keeps)
            self._all_sliced.add(fill)
        elif entry.freshness.born > fill.entry.freshness.born:
            fill.entry = entry  # it was validated meanwhile
        if request.hops:
            fill.note_hops(request.hops)
        return fill

    def under_way(self, resource: Resource) -> SlicedFill | None:
        """The fill of a large entry's slices, if any are being read or fetched."""
        text = resource.key.text
        fill = self._sliced.get(text)
        if fill is not None and self._store.was_removed(resource.named.text, fill.generation, fill.entry.tags):
            del self._sliced[text]
            return None
        return fill

    def forget_sliced(self, fill: SlicedFill) -> None:
        """It is over."""
        if self._sliced.get(fill.resource.key.text) is fill:
            del self._sliced[fill.resource.key.text]
        self._all_sliced.discard(fill)
        if self._last_parts.get(fill.resource.key.text) is fill:
            del self._last_parts[fill.resource.key.text]
        if fill.outdated and not self._are_read(fill):
            self._store.drop(fill.resource.key)

    def lacks_parts(self, fill: SlicedFill) -> None:
        """Its origin ignores ranges of this object: it is fetched as a whole for a while."""
        text = fill.resource.key.text
        if self._sliced.get(text) is fill:
            del self._sliced[text]
        self._last_parts[text] = fill
        remember(self._whole_only, text, self._clock() + WHOLE_SECONDS)

    def is_whole_only(self, text: bytes) -> bool:
        """Whether the origin lately ignored a range of the object."""
        return text in self._whole_only and holds(self._whole_only, text, self._clock())

    def drop(self, key: CacheKey) -> None:
        """Drop the entry under the key."""
        fill = self._last_parts.get(key.text)
        if fill is None:
            self._store.drop(key)
        else:
            fill.outdated = True  # it is hidden, and still read

    def outdate(self, stored: Entry, found: SlicedFill) -> None:
        """Origins have another version than the stored entry: it is dropped once nobody reads it."""
        if found.is_of(stored):
            return
        mine = [fill for fill in self._all_sliced if fill.is_of(stored) and fill.resource.key == stored.key]
        for fill in mine:
            fill.outdated = True
            self._sliced[stored.key.text] = fill  # in the place of what was found, for those who come meanwhile
        if not mine:
            self._store.drop(stored.key)

    def _are_read(self, over: SlicedFill) -> bool:
        """Whether others read the same version of a large entry."""
        return any(fill.resource.key == over.resource.key and fill.is_of(over.entry) for fill in self._all_sliced)

    def drop_sliced(self, fill: SlicedFill) -> None:
        """Origins have another version: drop the entry of this one."""
        if self._sliced.get(fill.resource.key.text) is fill:
            del self._sliced[fill.resource.key.text]
            self._store.drop(fill.resource.key)

    def refresh(
        self, resource: Resource, request: Request, stored: Entry | None, *, purpose: FetchReason | None = None
    ) -> None:
        """Refresh `resource` in the background, or fetch it if nothing is stored, unless a fill of it is under way or
        all its origins are bad. Its bytes are counted for the `purpose`.
        """
        sliced = self._sliced.get(resource.key.text)
        if sliced is not None and sliced.outdated:
            return  # another version is known to be there, and this one goes with its last reader
        if self._under_way(resource, b"GET") is None and self._may_refresh(resource):
            want = self._validation(resource, b"GET", stored)
            want.purpose = purpose
            self._start_soon(Question(resource, request, want, stored, shared=True), None)

    def _validation(self, resource: Resource, method: bytes, stored: Entry | None) -> Want:
        """A fetch of the resource, conditional on the entry's validators if it has any (RFC 9111 §4.3.1)."""
        want = _plain(resource, method)
        if stored is not None and stored.head.status == 200 and method != b"HEAD":
            want.etag, want.validators = stored.etag, conditional.validators(stored.etag, stored.last_modified)
            want.version = self._means.versions.of(resource, stored) if want.validators else None
        return want

    def unasked(self, resource: Resource) -> str | None:
        """Why no origin is asked while there is a stale entry, in a word: all its origins are known to be bad, or
        their budgets are spent. None: one is asked.
        """
        means, names = self._means, resource.tried
        if means.are_cut_off(names):
            return CUT_OFF
        return SAVED if means.are_saving(names) else None

    def is_paused(self, resource: Resource) -> bool:
        """Whether budgets let nothing be fetched that no client waits for."""
        return self._means.are_paused(resource.tried)

    def _may_refresh(self, resource: Resource) -> bool:
        """Whether to refresh an entry now: while no origin should be asked, once in a while, whichever it is."""
        if self.unasked(resource) is None:
            return True
        now = self._means.loop.time()
        if now - self._tried_at < CUT_OFF_SECONDS:
            return False
        self._tried_at = now
        return True

    def _find(self, resource: Resource, request: Request) -> Fill | None:
        """A fill that may answer a request that comes now."""
        fill = self._under_way(resource, request.method)
        if fill is None or not _serves(fill, request, self._clock()):
            return None
        if request.hops:
            if 0 < fill.question.want.asks <= request.hops:
                return None  # two nodes could wait for each other
            fill.question.request.note_hops(request.hops)
        return fill

    def _under_way(self, resource: Resource, method: bytes) -> Fill | None:
        """The fill of a key. One for GET also serves HEAD."""
        text = resource.key.text
        fill = self._shared.get(text)
        if fill is None and method == b"HEAD":
            fill = self._shared_heads.get(text)
        if fill is not None and self._store.was_removed(resource.named.text, fill.generation, fill.tags):
            return None  # a purged entry must not come back
        return fill

    def rename(self, fill: Fill, resource: Resource) -> None:
        """A fill turned out to be of one variant: requests for that one join it from now on."""
        old, shared = fill.resource.key.text, self._shared_by(fill.question.want.method)
        if shared.get(old) is fill:
            del shared[old]
            shared.setdefault(resource.key.text, fill)
        fill.question.resource = resource

    def _start_soon(self, question: Question, reader: Reader | None) -> Fill:
        """As `_start`. It is opened when all readers have joined that one fill releases together, which mustn't count
        as latecomers.
        """
        fill = self._start(question, reader)
        self._means.loop.call_soon(fill.open)
        return fill

    def _start(self, question: Question, reader: Reader | None) -> Fill:
        """A new fill, to be opened, and joined by its first reader; without one it goes on in the background."""
        text, method = question.resource.key.text, question.want.method
        if text in self._whole_only:
            self._forbid_parts(question)
        if MARK in question.request.notable:
            question.want.purpose = FetchReason.WARM
        fill = Fill(question, self._means, self, background=reader is None)
        self._started += 1
        self._alive.add(fill)
        if question.shared:
            self._shared_by(method)[text] = fill
        if reader is not None:
            fill.join(reader)
        return fill

    def _shared_by(self, method: bytes) -> dict[bytes, Fill]:
        return self._shared if method == b"GET" else self._shared_heads

    def _forbid_parts(self, question: Question) -> None:
        """An origin lately ignored a range of the object: fetch it as a whole."""
        if self.is_whole_only(question.resource.key.text):
            question.in_parts = question.in_slices = False

    def forget(self, fill: Fill) -> None:
        """Later requests don't join this fill."""
        text, shared = fill.question.resource.key.text, self._shared_by(fill.question.want.method)
        if shared.get(text) is fill:
            del shared[text]
        if fill.phase in OVER:
            self._alive.discard(fill)
            checks = self._means.spot_checks
            if checks is not None and fill.committed and fill.entry is not None and not fill.by_peer:
                checks.filled(fill.resource, fill.entry)

    def note_sharing(self, text: bytes, said: HitForMiss) -> None:
        """Remember for a while whether responses under this key can be shared."""
        if said is HitForMiss.MARK:
            remember(self._hit_for_miss, text, self._clock() + self._means.policy.hit_for_miss_seconds)
        elif said is HitForMiss.FORGET and self._hit_for_miss:
            self._hit_for_miss.pop(text, None)

    def count_thrifty(self, how: str) -> None:
        """A request of an address over its budget of origin bytes was served in this way."""
        self._thrifty[how] = self._thrifty.get(how, 0) + 1

    def count_broken(self) -> None:
        """A fill failed after its head was known to readers."""
        self._broken += 1

    def count_continued(self, origin: str) -> None:
        """A body broke off or was late, and continued from this origin."""
        self._continued[origin] = self._continued.get(origin, 0) + 1

    def look(self, now: float, patience: Callable[[str], float]) -> None:
        """Look for bodies that are late; to be called once a second. `patience`: as in `Lookout.look`."""
        self._lookout.look(self.bodies(), now, patience=patience)

    def bodies(self) -> Sequence[Watched]:
        """The bodies under way of which other origins may have the same bytes."""
        bodies: list[Watched] = [run for sliced in self._all_sliced for run in sliced.under_way()]
        for fill in self._alive:
            if fill.phase is Phase.STREAMING and len(fill.resource.tried) > 1 and (rest := fill.rest()) is not None:
                bodies.append(rest)
        return bodies

    def cancel_all(self) -> None:
        for fill in list(self._alive):
            fill.cancel()
        for sliced in list(self._all_sliced):
            sliced.cancel()

    def statistics(self) -> FillStatistics:
        readers = [fill.shared_by for fill in self._alive] + [fill.shared_by for fill in self._all_sliced]
        return FillStatistics(
            in_flight=len(readers),
            started=self._started,
            collapsed=self._collapsed,
            readers=sum(readers),
            most_readers=max(readers, default=0),
            broken=self._broken,
            continued=dict(self._continued),
            memory_used_bytes=self._means.memory.used,
            memory_capacity_bytes=self._means.memory.capacity,
            hit_for_miss=len(self._hit_for_miss),
            thrifty=dict(self._thrifty),
        )


def _serves(fill: Fill, request: Request, now: float) -> bool:
    """Whether the response of a fill may answer a new request, as if it were stored (RFC 9111 §4)."""
    if fill.phase is not Phase.STREAMING:
        return True
    assert fill.head is not None and fill.freshness is not None
    answer = Streaming(fill.head, fill.freshness)
    return may_reuse(answer, request, now, fill.disposition, fill.resource.route.freshness)


def remember(known: dict[bytes, float], text: bytes, until: float) -> None:
    """Remember a key until then; the oldest of too many is forgotten."""
    known.pop(text, None)
    known[text] = until
    while len(known) > _REMEMBERED:
        del known[next(iter(known))]


def holds(known: dict[bytes, float], text: bytes, now: float) -> bool:
    """Whether a remembered key still counts."""
    if known[text] > now:
        return True
    del known[text]
    return False


def _plain(resource: Resource, method: bytes) -> Want:
    key, choice = resource.base or resource.key, resource.route.choice if method == b"GET" else None
    want = Want(method, resource.path, resource.query, forwarded=resource.forwarded, key=key, choice=choice)
    want.route = resource.route.name
    return want
