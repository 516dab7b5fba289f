"""Attempts and failover: one fetch over several origins inside one deadline, before any byte went to a client.

An answer is committed to only when it is the object itself. What else an origin says ("absent", an error, a refusal)
moves on to the next; nothing that an error body says ever leaves this room but as a fault.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from shield.errors import Fault, OriginError
from shield.messages import Field, Fields, ResponseHead
from shield.origin.pool import Pool, PoolStatistics
from shield.origin.response import Response
from shield.origin.signer import Signer
from shield.rules import conditional, dates, ranges, s3_errors
from shield.rules.freshness import allowed_lifetime
from shield.rules.loops import Gateway
from shield.rules.providers import Provider
from shield.rules.ranges import Span
from shield.rules.routing import Candidate, next_attempt, rank
from shield.rules.s3_errors import Answer

log = logging.getLogger("shield.origin")

ERROR_BODY_LIMIT = 64 * 1024
_TIMEOUTS = frozenset(
    {
        Fault.CONNECT_TIMEOUT,
        Fault.POOL_TIMEOUT,
        Fault.FIRST_BYTE_TIMEOUT,
        Fault.BETWEEN_BYTES_TIMEOUT,
        Fault.TOTAL_TIMEOUT,
    }
)
SKEW_NOTICED = 60.0
"""Seconds by which an origin's Date must differ from our clock before signatures follow it; below, it is noise."""


@dataclass(slots=True)
class Want:
    """What is to be fetched, free of any origin.

    A `span` is absolute, asks for a 206 and with `etag` for that very version (If-Match) of `length` bytes. A
    `tentative` span is asked for while nothing is known of the object: it may end beyond the object, and the whole is
    as good an answer.
    `validators` are the fields that ask whether the version with `etag` still holds (RFC 9111 §4.3.1).
    """

    method: bytes
    path: bytes
    query: bytes = b""
    span: Span | None = None
    etag: bytes | None = None
    validators: tuple[Field, ...] = ()
    tentative: bool = False
    length: int | None = None  # of the whole, if it is known
    forwarded: tuple[Field, ...] = ()  # of the client's request
    asked: Fields = ()  # all that it says, its way so far included (RFC 8586)

    def whole(self) -> Want:
        """The same object without a span."""
        return Want(self.method, self.path, self.query, forwarded=self.forwarded, asked=self.asked)

    def fields(self) -> tuple[Field, ...]:
        if self.span is None:
            return self.validators + self.forwarded
        asked = (b"range", b"bytes=%d-%d" % (self.span.start, self.span.stop - 1))
        own = (asked,) if self.etag is None else (asked, (b"if-match", self.etag))
        return own + self.forwarded


@dataclass(slots=True)
class Fetched:
    """An origin committed to an answer; `response` is not started yet and belongs to the caller.

    `by_peer`: another worker of this node answered, which keeps on disk what there is to keep; `was_hit`: from what
    it had.
    """

    origin: str
    response: Response
    request_time: float
    response_time: float
    by_peer: bool = False
    was_hit: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """Every origin answered, and none has the object. `lifetime` is how long they let that be believed at most."""

    status: int = 404
    lifetime: float = math.inf


@dataclass(frozen=True, slots=True)
class Failed:
    """No origin gave the object and at least one could not say: so nobody may conclude that it is absent.

    `is_late`: it counts as time that ran out, whatever the failures are.
    """

    failures: tuple[OriginError, ...]
    is_late: bool = False

    def names(self, fault: Fault) -> bool:
        """Whether any attempt failed for this reason."""
        return any(error.fault is fault for error in self.failures)

    @property
    def detail(self) -> str:
        """Short words for Cache-Status: each origin's name and fault."""
        return " ".join(f"{e.origin}={e.fault.value}" for e in self.failures) or "deadline"


@dataclass(frozen=True, slots=True)
class OriginStatistics:
    fetches: int
    faults: Mapping[str, int]
    absent: int
    pool: PoolStatistics


@dataclass(frozen=True, slots=True)
class _ErrorAnswer:
    status: int
    date: bytes | None
    code: str | None
    message: str
    lifetime: float = math.inf


class Origin:
    """One S3 bucket endpoint: its signer, its pool, and how its answers are read."""

    def __init__(
        self,
        name: str,
        *,
        role: str,
        provider: Provider,
        signer: Signer,
        pool: Pool,
        denied_is_absent: bool = False,
        passes_errors: bool = False,
        gateway: Gateway | None = None,
    ) -> None:
        self.name = name
        self.candidate = Candidate(name, role)
        self.provider = provider
        self.signer = signer
        self.pool = pool
        self._denied_is_absent = denied_is_absent
        self._passes_errors = passes_errors
        self._gateway = None if provider.signed else gateway  # to a storage we are a client, and it leads nowhere
        self.fetches = 0
        self.absent = 0
        self.faults: Counter[str] = Counter()

    async def fetch(self, want: Want, *, deadline: float, clock: Callable[[], float]) -> Fetched | Absent:
        """One attempt; OriginError for whatever is neither the object nor its absence.

        A refusal for the clock's sake is tried once more with the clock corrected, in the same attempt; and one of a
        tentative span, which an empty object can't satisfy, without the span.
        """
        for last in (False, False, True):
            request_time = clock()
            self.fetches += 1
            fields = want.fields()
            if self._gateway is not None:
                fields = self._gateway.introduced(fields, want.asked)
            head = self.signer.head(want.method, want.path, request_time, fields, query=want.query)
            response = await self.pool.fetch(head, method=want.method, deadline=deadline)
            response_time = clock()
            status = response.head.status
            if status == 200 and want.span is None:
                return Fetched(self.name, response, request_time, response_time)
            if 200 <= status < 300 or status == 304:
                self._check(want, response)
                return Fetched(self.name, response, request_time, response_time)
            is_part = want.span is not None and not want.tentative  # then nothing else may take its place
            if not (is_part or self.provider.signed) and (self._passes_errors or s3_errors.passes(status)):
                return Fetched(self.name, response, request_time, response_time)
            error = await self._read_error(want, response, deadline, clock)
            if status == 416 and want.tentative:
                want = want.whole()
                continue
            if status == 412 and want.span is not None:
                raise OriginError(self.name, Fault.VALIDATOR, "another version is there now", status=status)
            skewed = self._follow_clock(error, response_time)
            if skewed and not last:
                continue
            answer = s3_errors.classify(
                error.status, error.code, provider=self.provider, denied_is_absent=self._denied_is_absent
            )
            if answer is Answer.ABSENT:
                self.absent += 1
                return Absent(410 if error.status == 410 else 404, error.lifetime)
            detail = f"{error.status} {error.code or ''} {error.message}".strip()
            raise OriginError(self.name, s3_errors.fault(answer), detail, status=error.status)
        raise AssertionError("unreachable: the last round returns or raises")

    async def _read_error(
        self, want: Want, response: Response, deadline: float, clock: Callable[[], float]
    ) -> _ErrorAnswer:
        """What an error answer says. The code is in its body, so what HEAD was refused is asked again with GET."""
        if want.method == b"HEAD" and self.provider.signed:
            response.close()
            probe = Want(b"GET", want.path, want.query, span=Span(0, 1), forwarded=want.forwarded)
            self.fetches += 1
            head = self.signer.head(probe.method, probe.path, clock(), probe.fields(), query=probe.query)
            response = await self.pool.fetch(head, method=probe.method, deadline=deadline)
            if response.head.status < 400:
                response.close()
                return _ErrorAnswer(502, response.head.get(b"date"), None, "GET has what HEAD was refused")
        status, date = response.head.status, response.head.get(b"date")
        try:
            async with asyncio.timeout_at(deadline):
                body = await response.read(ERROR_BODY_LIMIT)
        except (OriginError, TimeoutError):
            response.close()
            return _ErrorAnswer(status, date, None, "")  # the status alone must do
        return _ErrorAnswer(status, date, *s3_errors.error_code(body), lifetime=allowed_lifetime(response.head))

    def _follow_clock(self, error: _ErrorAnswer, now: float) -> bool:
        """Correct the signer's clock from Date when a refusal may be due to it; True if it made a difference."""
        if not (s3_errors.skewed(error.code) or (error.status == 403 and error.code is None)):
            return False
        stated = dates.parse(error.date or b"")
        if stated is None or abs(stated - (now + self.signer.skew)) < SKEW_NOTICED:
            return False
        log.warning(
            "origin %s: its clock differs from ours by %+.0f s; signing by its clock", self.name, stated - now
        )
        self.signer.correct_clock(stated, now)
        return True

    def _check(self, want: Want, response: Response) -> None:
        """Refuse a success that doesn't answer what was asked (RFC 9110 §15.3.7, §15.4.5)."""
        problem = mismatch(want, response.head)
        if problem is not None:
            fault, detail = problem
            response.close()
            raise OriginError(self.name, fault, detail, status=response.head.status)

    def statistics(self) -> OriginStatistics:
        return OriginStatistics(self.fetches, dict(self.faults), self.absent, self.pool.statistics())


def mismatch(want: Want, head: ResponseHead) -> tuple[Fault, str] | None:
    """What keeps a success, or 304, from being the answer to what was asked; None when nothing does."""
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


def _is_asked(stated: tuple[int, int, int | None], want: Want) -> bool:
    """Whether a Content-Range is of what was asked; a tentative span may end beyond the object."""
    first, last, length = stated
    assert want.span is not None
    if want.tentative and length is not None:
        return (first, last + 1) == (want.span.start, min(want.span.stop, length))
    return (first, last + 1) == (want.span.start, want.span.stop)


@dataclass
class _Complaints:
    """One log line per origin and fault in ten seconds; the others are counted and said with the next."""

    said: dict[tuple[str, Fault], float] = field(default_factory=dict)
    kept_back: Counter[tuple[str, Fault]] = field(default_factory=Counter)

    def say(self, error: OriginError, path: bytes, now: float) -> None:
        what = (error.origin, error.fault)
        if abs(now - self.said.get(what, -1e9)) < 10.0:
            self.kept_back[what] += 1
            return
        more = self.kept_back.pop(what, 0)
        self.said[what] = now
        suffix = f" ({more} more like it)" if more else ""
        log.warning("%s; for %s%s", error, path.decode("ascii", "replace"), suffix)


class Origins:
    """All origins of a node. `fetch` walks an order of names within one deadline."""

    def __init__(self, origins: Sequence[Origin], *, deadline_seconds: float, clock: Callable[[], float]) -> None:
        self._origins = {origin.name: origin for origin in origins}
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._complaints = _Complaints()
        self._now = asyncio.get_running_loop().time

    def order(self, names: Sequence[str]) -> tuple[str, ...]:
        """The order in which the named origins are tried now."""
        if len(names) < 2:
            return tuple(names)
        return rank([self._origins[name].candidate for name in names])

    async def fetch(self, names: Sequence[str], want: Want) -> Fetched | Absent | Failed:
        """Try the named origins until one commits to the object. Cancellation leaves nothing behind."""
        now = self._now
        deadline = now() + self._deadline_seconds
        order = self.order(names)
        tried: set[str] = set()
        failures: list[OriginError] = []
        gone = Absent()
        while (attempt := next_attempt(order, tried, now=now(), deadline=deadline)) is not None:
            origin = self._origins[attempt.origin]
            tried.add(origin.name)
            try:
                result = await origin.fetch(want, deadline=attempt.deadline, clock=self._clock)
            except OriginError as error:
                origin.faults[error.fault.value] += 1
                self._complaints.say(error, want.path, now())
                failures.append(error)
                continue
            if isinstance(result, Fetched):
                return result
            gone = Absent(result.status, min(result.lifetime, gone.lifetime))
        if failures or len(tried) < len(order):
            return Failed(tuple(failures))
        return gone

    def get(self, name: str) -> Origin:
        return self._origins[name]

    def all(self) -> tuple[Origin, ...]:
        return tuple(self._origins.values())

    async def close(self) -> None:
        for origin in self._origins.values():
            await origin.pool.close()


def reasons(failure: Failed | OriginError | None) -> tuple[str, bool]:
    """Short words for Cache-Status, and whether nothing but time ran out; None: the deadline passed."""
    if failure is None:
        return "deadline", True
    if isinstance(failure, Failed):
        return failure.detail, failure.is_late or all(error.fault in _TIMEOUTS for error in failure.failures)
    return failure.fault.value, failure.fault in _TIMEOUTS
