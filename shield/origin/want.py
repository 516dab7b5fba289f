"""A fetch from an origin and its possible results: values, free of any connection."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from shield.errors import Fault, OriginError
from shield.messages import Field, Request, ResponseHead
from shield.origin.response import Inform, Response
from shield.origin.version import Version
from shield.rules import conditional, ranges
from shield.rules.choice import Choice
from shield.rules.egress import FetchReason
from shield.rules.exact import GRID
from shield.rules.key import CacheKey
from shield.rules.ranges import Span
from shield.rules.throttling import LONGEST_PAUSE
from shield.trace import FetchTrace

_TIMEOUTS = frozenset(
    {
        Fault.CONNECT_TIMEOUT,
        Fault.POOL_TIMEOUT,
        Fault.FIRST_BYTE_TIMEOUT,
        Fault.BETWEEN_BYTES_TIMEOUT,
        Fault.TOTAL_TIMEOUT,
    }
)

_CROWDED = frozenset({Fault.THROTTLED, Fault.OVER_LIMIT})


class Crowd(Protocol):
    """Those for whom something is fetched."""

    @property
    def clients(self) -> int:
        """How many of them are clients, which wait for it."""


@dataclass(slots=True)
class Want:
    """A fetch, independent of any origin.

    A `span` is absolute, asks for a 206 and with `etag` for that very version (If-Match) of `length` bytes. A
    `tentative` span is requested while nothing is known of the object: it may end beyond the object, and the whole is
    as good a response. So is the beginning of a span that is tentative, or of a body of known `length`: such fills
    go on from where a response ends.
    `validators` are the fields that make the request conditional on the version with `etag` (RFC 9111 §4.3.1).
    `sent` is called whenever the request is about to be written: the response is that to the last of them.
    `key` is the one by which a worker owns the object, `request` the client's: its target names the object to that
    worker, its fields tell its path so far (RFC 8586) and how a response is judged. `alone`: that concerns no other
    request.
    `may_hedge`: the next origin's response is as good as the first's.
    `version`: the part may come from any origin with the same bytes, each asked with its own ETag.
    `readers` are those for whom it is fetched. `waits_since` is when it first had to wait for a place at an origin,
    or 0.0; one that `is_probe` never waits for one. Its bytes are counted for the `route` and the `purpose`.
    """

    method: bytes
    path: bytes
    query: bytes
    span: Span | None
    etag: bytes | None
    validators: tuple[Field, ...]
    tentative: bool
    length: int | None  # of the whole, if known
    version_of: str | None  # the origin from whose response `etag` is, if known
    resumes: str | None  # the origin that broke off the body of which this is the rest
    forwarded: tuple[Field, ...]  # fields of the client's request
    key: CacheKey | None
    request: Request | None = field(compare=False)
    alone: bool
    may_hedge: bool
    inform: Inform | None  # called with interim responses (RFC 9110 §15.2)
    sent: Callable[[], None] | None
    version: Version | None
    readers: Crowd | None
    waits_since: float
    choice: Choice | None  # of the route, which is told the size of the response
    fresh: bool  # a kept connection won't do: it is repeated after a failure
    is_probe: bool  # for no client: its times are kept apart from those of fetches
    route: str
    purpose: FetchReason | None  # None: it shows in what is asked for
    trace: FetchTrace | None = field(compare=False)  # None: it isn't traced
    asks: int  # a node is being asked: 1 of this region, 2 of another one, as in `Request.hops`

    # Written out, as it is then compiled: a dataclass's own is not.
    def __init__(
        self,
        method: bytes,
        path: bytes,
        query: bytes = b"",
        span: Span | None = None,
        etag: bytes | None = None,
        validators: tuple[Field, ...] = (),
        tentative: bool = False,
        length: int | None = None,
        version_of: str | None = None,
        resumes: str | None = None,
        forwarded: tuple[Field, ...] = (),
        key: CacheKey | None = None,
        request: Request | None = None,
        alone: bool = False,
        may_hedge: bool = True,
        inform: Inform | None = None,
        sent: Callable[[], None] | None = None,
        version: Version | None = None,
        readers: Crowd | None = None,
        waits_since: float = 0.0,
        choice: Choice | None = None,
        fresh: bool = False,
        is_probe: bool = False,
        route: str = "",
        purpose: FetchReason | None = None,
        trace: FetchTrace | None = None,
        asks: int = 0,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.span = span
        self.etag = etag
        self.validators = validators
        self.tentative = tentative
        self.length = length
        self.version_of = version_of
        self.resumes = resumes
        self.forwarded = forwarded
        self.key = key
        self.request = request
        self.alone = alone
        self.may_hedge = may_hedge
        self.inform = inform
        self.sent = sent
        self.version = version
        self.readers = readers
        self.waits_since = waits_since
        self.choice = choice
        self.fresh = fresh
        self.is_probe = is_probe
        self.route = route
        self.purpose = purpose
        self.trace = trace
        self.asks = asks

    def whole(self) -> Want:
        """The same object without a span."""
        return Want(
            self.method,
            self.path,
            self.query,
            forwarded=self.forwarded,
            key=self.key,
            request=self.request,
            alone=self.alone,
            may_hedge=self.may_hedge,
            inform=self.inform,
            sent=self.sent,
            readers=self.readers,
            waits_since=self.waits_since,
            choice=self.choice,
            is_probe=self.is_probe,
            route=self.route,
            purpose=self.purpose,
            trace=self.trace,
        )

    def beginning(self) -> Want:
        """Just the beginning of the same object, whatever its length is."""
        return replace(self, span=Span(0, GRID), tentative=True)

    def fields(self) -> tuple[Field, ...]:
        if self.span is None:
            return self.validators + self.forwarded
        asked = (b"range", b"bytes=%d-%d" % (self.span.start, self.span.stop - 1))
        own = (asked,) if self.etag is None else (asked, (b"if-match", self.etag))
        return own + self.forwarded


class Keeping(Enum):
    """Where a response may be kept that can be stored."""

    ALL = "all"  # in RAM and on disk
    MEMORY = "memory"  # in RAM only: another worker of this node puts it on disk, or it is a copy of another node's
    NOWHERE = "nowhere"  # another node keeps it, and is asked again: so nodes together hold more than one of them


@dataclass(slots=True)
class Fetched:
    """An origin committed to a response; `response` is not started yet and belongs to the caller.

    `by_peer`: it is another worker, of this node or (`by_node`) of another one; `was_hit`: a worker of this node had
    it stored. `origin` is empty if no single one responded so: that worker had it stored, or concludes an absence, on
    which `detail` says more.
    """

    origin: str
    response: Response
    request_time: float
    response_time: float
    by_peer: bool
    was_hit: bool
    detail: str | None
    attempts: int  # requests to origins
    by_node: bool
    keep: Keeping

    def __init__(
        self,
        origin: str,
        response: Response,
        request_time: float,
        response_time: float,
        by_peer: bool = False,
        was_hit: bool = False,
        detail: str | None = None,
        attempts: int = 1,
        by_node: bool = False,
        keep: Keeping = Keeping.ALL,
    ) -> None:
        self.origin = origin
        self.response = response
        self.request_time = request_time
        self.response_time = response_time
        self.by_peer = by_peer
        self.was_hit = was_hit
        self.detail = detail
        self.attempts = attempts
        self.by_node = by_node
        self.keep = keep

    @property
    def keeps_slices(self) -> bool:
        """Whether this node's disks are the place for its slices."""
        return self.keep is Keeping.ALL or not self.by_node


@dataclass(frozen=True, slots=True)
class Absent:
    """Every origin answered, and none has the object. `lifetime`: how long they allow this to be cached at most.

    `vary` are the request's fields by which they say so, sorted; None: it holds for that request alone (RFC 9111
    §4.1). `said` are the names of these origins, `unwell` those of them whose health was bad.
    """

    status: int = 404
    lifetime: float = math.inf
    vary: tuple[bytes, ...] | None = ()
    said: tuple[str, ...] = ()
    unwell: tuple[str, ...] = ()
    attempts: int = 1  # requests to origins

    def after(self, before: Absent) -> Absent:
        """The answers of this origin and of those before it, together."""
        named = None if self.vary is None or before.vary is None else tuple(sorted({*self.vary, *before.vary}))
        lifetime = min(self.lifetime, before.lifetime)
        return Absent(self.status, lifetime, named, before.said + self.said, before.unwell + self.unwell)


@dataclass(frozen=True, slots=True)
class Failed:
    """No origin gave the object and at least one could not tell: so it mustn't be considered absent.

    `is_late`: it counts as a timeout, whatever the failures are.
    """

    failures: tuple[OriginError, ...]
    is_late: bool = False
    attempts: int = 0  # requests to origins, as far as known

    def names(self, fault: Fault) -> bool:
        """Whether any attempt failed for this reason."""
        return any(error.fault is fault for error in self.failures)

    @property
    def detail(self) -> str:
        """Short words for Cache-Status: each origin's name and fault."""
        return " ".join(f"{e.origin}={e.fault.value}" for e in self.failures) or "deadline"


def settled(
    failures: Mapping[str, OriginError], absent: Container[str], want: Want, *, asked_all: bool
) -> tuple[OriginError, ...]:
    """Why none of the origins gave the object; `asked_all`: none of them was omitted for lack of time.

    "Another version", in response to a request for a part, proves a change only from the origin of that version, or
    when every origin could tell: copies of the same bytes have other validators at other storages.
    """
    changed = Fault.VALIDATOR
    if want.span is None or not any(error.fault is changed for error in failures.values()):
        return tuple(failures.values())
    own = failures.get(want.version_of) if want.version_of is not None else None
    is_proven = want.version_of in absent or (own is not None and own.fault is changed)
    if is_proven or (asked_all and all(error.fault is changed for error in failures.values())):
        return tuple(failures.values())
    return tuple([_as_copy(error) if error.fault is changed else error for error in failures.values()])


def _as_copy(error: OriginError) -> OriginError:
    return OriginError(error.origin, Fault.DIFFERS, error.detail, status=error.status)


def ends_stale(failure: Failed | OriginError | None) -> bool:
    """Whether an origin refused the object itself, so that it may no longer be served stale.

    RFC 5861 §4 allows a stale entry in place of 500, 502, 503 and 504. We include rejected credentials:
    they are our own fault, and say nothing about the object.
    """
    errors = failure.failures if isinstance(failure, Failed) else () if failure is None else (failure,)
    return any(error.fault is Fault.FORBIDDEN for error in errors)


def is_no_part(failure: Failed | OriginError | None) -> bool:
    """Whether an origin gave something else than the part that it was asked for."""
    if isinstance(failure, Failed):
        return any(failure.names(fault) for fault in (Fault.VALIDATOR, Fault.DIFFERS, Fault.MALFORMED))
    return failure is not None and failure.fault in (Fault.VALIDATOR, Fault.MALFORMED)


def reasons(failure: Failed | OriginError | None) -> tuple[str, bool]:
    """Short words for Cache-Status, and whether time ran out and nothing else failed; None: the deadline passed."""
    if failure is None:
        return "deadline", True
    if isinstance(failure, Failed):
        return failure.detail, failure.is_late or all(error.fault in _TIMEOUTS for error in failure.failures)
    return failure.fault.value, failure.fault in _TIMEOUTS


def attempts_of(failure: Failed | OriginError | None) -> int:
    """The number of requests to origins that it took to fail, as far as known."""
    return failure.attempts if isinstance(failure, Failed) else 0


def asked_again_after(failure: Failed | OriginError | None) -> float | None:
    """Seconds after which an origin may have a place for the request again; None if that isn't known."""
    errors = failure.failures if isinstance(failure, Failed) else () if failure is None else (failure,)
    if is_over_budget(failure):
        return min([each.retry_after or 1.0 for each in errors])
    known = [each.retry_after for each in errors if each.fault in _CROWDED and each.retry_after is not None]
    return min(LONGEST_PAUSE, *known) if known else None


def is_over_budget(failure: Failed | OriginError | None) -> bool:
    """Whether no origin was asked, since budgets are spent."""
    errors = failure.failures if isinstance(failure, Failed) else () if failure is None else (failure,)
    return bool(errors) and all(each.fault is Fault.OVER_BUDGET for each in errors)


def mismatch(want: Want, head: ResponseHead) -> tuple[Fault, str] | None:
    """The reason why a success, or 304, doesn't match the request; None when it does."""
    if head.status == 304:
        if not want.validators:
            return Fault.VALIDATOR, "304 to an unconditional request"
        etag = head.get(b"etag")
        if etag is not None and want.etag is not None and not conditional.matches(etag, want.etag, weakly=True):
            return Fault.VALIDATOR, "304 for another ETag"
        return None
    if want.span is None:
        return (Fault.MALFORMED, "206 to a request without Range") if head.status == 206 else None
    if head.status != 206:
        return None if want.tentative else (Fault.MALFORMED, f"{head.status} to a request with Range")
    stated = ranges.parse_content_range(head.get(b"content-range") or b"")
    if stated is None or not _is_asked(stated, want):
        return Fault.MALFORMED, "206 for another range than was asked"
    if head.length is not None and head.length != stated[1] + 1 - stated[0]:
        return Fault.MALFORMED, "206 of another length than its range"
    if want.etag is not None and head.get(b"etag") != want.etag:
        return Fault.VALIDATOR, "206 of another version"
    if want.length is not None and stated[2] not in (None, want.length):
        return Fault.VALIDATOR, "206 of a body of another length"
    return None


def is_useless(want: Want, response: Response) -> bool:
    """Whether a success is no response to the request."""
    head = response.head
    return (200 <= head.status < 300 or head.status == 304) and mismatch(want, head) is not None


def _is_asked(stated: tuple[int, int, int | None], want: Want) -> bool:
    """Whether a Content-Range matches the request, as far as it must."""
    first, last, length = stated
    assert want.span is not None
    start, stop = want.span.start, want.span.stop
    if want.tentative and length is not None:
        stop = min(stop, length)
    goes_on = want.tentative or want.length is not None
    return first == start and (last + 1 == stop or (goes_on and last + 1 < stop))


def belies_parts(want: Want, head: ResponseHead) -> bool:
    """Whether a response shows that the origin ignores Range (RFC 9110 §14.2), whatever Accept-Ranges says."""
    if want.span is None or head.status != 200:
        return False
    is_part = want.span.start > 0 or head.length is None or head.length > want.span.stop
    return is_part and head.length != 0


def without_parts(head: ResponseHead) -> ResponseHead:
    """The head for an object that isn't served in parts (RFC 9110 §14.3)."""
    fields = tuple(field for field in head.fields if field[0] != b"accept-ranges")
    return ResponseHead(head.status, (*fields, (b"accept-ranges", b"none")), head.length)
