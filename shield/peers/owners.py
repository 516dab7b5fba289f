"""Where a fill fetches from: origins, or the worker of this node that owns the key.

Each key has one owner among a node's workers. It fetches from origins for all of them, so that requests collapse in
the node as they do in one worker. The others ask it over its unix socket as a client would, by `GET target`: it
answers from what it has, or by a fill of its own. To its answer it adds one field line, the last of its head, which
says what became of the request (`told`); it is read here and goes no further, like its member of Cache-Status.

An owner that is down, or gone before its head, is done without: who asked goes to the origins itself. An owner
refuses what it doesn't own, so that no request goes round in circles.

Hook-up: `FillTable(source=Owners(...))`; `judged_by(request)` gives `fetch` what the owner must know of the client's
request to judge as this worker would.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from shield.errors import Fault, OriginError
from shield.messages import Field, Request, ResponseHead
from shield.origin.dial import Endpoint
from shield.origin.origins import Origins
from shield.origin.pool import Pool
from shield.origin.response import Response
from shield.origin.terms import PoolLimits, Timeouts
from shield.origin.want import Absent, Failed, Fetched, Want, mismatch
from shield.outcome import Outcome, node_name
from shield.rules import digests, hidden, loops
from shield.rules.key import CacheKey
from shield.rules.rendezvous import Rendezvous

log = logging.getLogger("shield.origin")

FIELD = b"shield-peer"

_HIT = b"hit"
_FAILED = b"failed"
_REFUSED = b"refused"
_FROM = b"from"
_JUDGED = (b"authorization", b"cache-control", b"pragma")
# An open one costs little, and a slow client's must not keep others waiting; workers send no body behind HEAD.
_LIMITS = PoolLimits(connections=1024, watch=0.0)
_COMPLAIN_SECONDS = 10.0
_AVOID_SECONDS = 10.0
_REPORT_SECONDS = 1.0
_REPORT_BYTES = 4 << 20

# No answer in time: the owner is there but stuck. Those who ask next needn't find out again.
_STUCK = frozenset({Fault.FIRST_BYTE_TIMEOUT, Fault.TOTAL_TIMEOUT})
# What an owner says of the object, or what ends this worker: asking origins wouldn't change it.
_FINAL = _STUCK | {Fault.POOL_TIMEOUT, Fault.VALIDATOR, Fault.CANCELLED}


@dataclass(frozen=True, slots=True)
class Ring:
    """The workers of a node: which of them this is, their unix sockets, and whether one is known to be down."""

    worker: int
    sockets: Sequence[str]
    is_down: Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class OwnerStatistics:
    asked: int  # fetches that went to another worker
    done_without: int  # fetches of what others own that went to the origins


class Owners:
    """A node's workers as a source of fills. Made and used within one event loop; `close` it before the origins.

    `node` is its name; `timeouts` are those towards owners: `first_byte` a little above what an owner takes for all
    its attempts at origins, the others above the origins' own.
    """

    def __init__(
        self, origins: Origins, ring: Ring, *, node: str, timeouts: Timeouts, clock: Callable[[], float]
    ) -> None:
        self._origins = origins
        self._node = node_name(node) + b"; "
        self._worker = ring.worker
        self._is_down = ring.is_down
        self._timeouts = timeouts
        self._clock = clock
        self._now = asyncio.get_running_loop().time
        count = max(1, len(ring.sockets))
        names = [b"worker-%d" % number for number in range(count)]
        self._owner = Rendezvous(names).owner if count > 1 else _only_one
        self._pools = {
            number: Pool(Endpoint(f"worker-{number}", path, 0), timeouts=timeouts, limits=_LIMITS)
            for number, path in enumerate(ring.sockets)
            if number != ring.worker
        }
        self._avoided_until = [0.0] * count
        self._complained_at = [-_COMPLAIN_SECONDS] * count
        self._asked = self._done_without = 0

    def owns(self, key: CacheKey) -> bool:
        """Whether it is this worker that fetches a key from origins."""
        return self._owner(key.digest) == self._worker

    def fetch(
        self, key: CacheKey, target: bytes, names: Sequence[str], want: Want, judged: Sequence[Field] | None = ()
    ) -> Coroutine[Any, Any, Fetched | Absent | Failed]:
        """As `Origins.fetch`, through the key's owner. `target` is the client's. Cancelled, it leaves nothing.

        `judged` None: for one client alone, so that nobody else is concerned.
        """
        owner = self._owner(key.digest)
        if owner == self._worker or judged is None:
            return self._origins.fetch(names, want)
        return self._fetch_from(owner, target, names, want, judged)

    async def _fetch_from(
        self, owner: int, target: bytes, names: Sequence[str], want: Want, judged: Sequence[Field]
    ) -> Fetched | Absent | Failed:
        if not self._is_down(owner) and self._now() >= self._avoided_until[owner]:
            self._asked += 1
            try:
                return await self._ask(owner, target, want, judged)
            except OriginError as error:
                if error.fault in _STUCK:
                    self._avoided_until[owner] = self._now() + _AVOID_SECONDS
                if error.fault in _FINAL:
                    return Failed((error,))
                self._complain(owner, error)
        self._done_without += 1
        return await self._origins.fetch(names, want)

    async def _ask(self, owner: int, target: bytes, want: Want, judged: Sequence[Field]) -> Fetched | Absent | Failed:
        """What the owner answers. Raises OriginError when that is of no use."""
        name = f"worker-{owner}"
        deadline = self._now() + self._timeouts.first_byte
        while True:
            asked = self._clock()
            passed = loops.passed(want.asked)
            way = ((loops.NAME, passed),) if passed else ()
            request = _request_head(want.method, target, (*want.fields(), *judged, *way))
            response = await self._pools[owner].fetch(
                request, method=want.method, deadline=deadline, inform=want.inform
            )
            said = _take_off(response, self._node)
            if want.tentative and response.head.status == 416:
                response.close()
                want = want.whole()
                continue
            result = _read(name, want, response, said)
            if isinstance(result, Fetched):
                result.request_time, result.response_time = asked, self._clock()
            else:
                response.close()
            return result

    async def reports(self, target: bytes) -> list[bytes]:
        """What other workers answer to a target of theirs, from all that do so within a second."""
        answers = await asyncio.gather(*[self._report(number, target) for number in self._pools])
        return [answer for answer in answers if answer is not None]

    async def _report(self, worker: int, target: bytes) -> bytes | None:
        if self._is_down(worker):
            return None
        try:
            async with asyncio.timeout(_REPORT_SECONDS):
                deadline = self._now() + _REPORT_SECONDS
                head = _request_head(b"GET", target, ())
                response = await self._pools[worker].fetch(head, method=b"GET", deadline=deadline)
                return await response.read(_REPORT_BYTES)
        except (OriginError, TimeoutError):
            return None

    def statistics(self) -> OwnerStatistics:
        return OwnerStatistics(self._asked, self._done_without)

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()

    def _complain(self, owner: int, error: OriginError) -> None:
        now = self._now()
        if now - self._complained_at[owner] >= _COMPLAIN_SECONDS:
            self._complained_at[owner] = now
            log.warning(
                "worker %d gave no answer: %s: %s; asking the origins", owner, error.fault.value, error.detail
            )


def _only_one(digest: bytes) -> int:
    return 0


def judged_by(request: Request, forwarded: Sequence[Field] = ()) -> tuple[Field, ...]:
    """The fields of a client's request by which an answer to it is judged (RFC 9111 §3.5, §5.2.1).

    Without those that are forwarded in any case.
    """
    notable = request.notable
    if not notable:
        return ()
    there = {name for name, _ in forwarded}
    return tuple([(name, notable[name]) for name in _JUDGED if name in notable and name not in there])


def told(status: int, outcome: Outcome) -> bytes:
    """The field line, with its end, by which an owner says what became of a peer's request."""
    if outcome.hit or outcome.served_stale:
        said = _HIT
    elif outcome.forward is None:
        said = _REFUSED
    elif status >= 500 and outcome.forward_status is None:
        said = b"%b %b" % (_FAILED, _bytes(outcome.detail))  # its status is the response's
    else:
        said = b"%b %b" % (_FROM, _bytes(outcome.origin))
    return b"%b: %b\r\n" % (FIELD, said)


def _bytes(text: str | None) -> bytes:
    return (text or "").encode("ascii", "replace")


def _request_head(method: bytes, target: bytes, fields: Sequence[Field]) -> bytes:
    lines = b"".join([b"%b: %b\r\n" % line for line in fields])
    return b"%b %b HTTP/1.1\r\nhost: shield\r\n%b\r\n" % (method, target, lines)


def _take_off(response: Response, node: bytes) -> bytes:
    """Remove what the owner added for us from a response's head, and give what it said; b"" when it said nothing.

    Age stays, since freshness follows from it, and Via, which names the node as it should.
    """
    head = response.head
    fields = list(head.fields)
    said = head.all(FIELD)[-1:]
    status = max((place for place, line in enumerate(fields) if line[0] == b"cache-status"), default=None)
    if status is not None and said and fields[status][1].startswith(node):
        del fields[status]  # the last member is the owner's
    kept = [line for line in fields if line[0] != FIELD]
    held = digests.told_openly(hidden.reveal(kept))
    response.head = ResponseHead(head.status, held, head.length)
    return said[0] if said else b""


def _read(name: str, want: Want, response: Response, said: bytes) -> Fetched | Absent | Failed:
    """What an owner's answer means; OriginError for what is no answer to `want`."""
    head = response.head
    status = head.status
    word, _, rest = said.partition(b" ")
    if word == _FAILED:
        return Failed(_failures(name, rest.decode("ascii", "replace")), is_late=status == 504)
    in_part = want.span is not None and not want.tentative
    if in_part and status in (404, 410):
        return Absent(status)
    if status == 412 and want.span is not None:
        response.close()
        raise OriginError(name, Fault.VALIDATOR, "another version is there now", status=status)
    problem = mismatch(want, head) if in_part or status < 300 or status == 304 else None
    if word not in (_HIT, _FROM) or status in (412, 416) or status >= 500:
        problem = (Fault.REFUSED, f"it answers {status} {said.decode('ascii', 'replace')}")
    if problem is not None:
        response.close()
        raise OriginError(name, *problem, status=status)
    origin = rest.decode("ascii", "replace") or "peer"
    return Fetched(origin, response, 0.0, 0.0, by_peer=True, was_hit=word == _HIT)


def _failures(name: str, detail: str) -> tuple[OriginError, ...]:
    """The errors that an owner's detail names (as `Failed.detail` does); none: its deadline passed."""
    failures = []
    for part in detail.split():
        origin, is_named, fault = part.rpartition("=")
        try:
            failures.append(OriginError(origin if is_named else name, Fault(fault), f"as {name} says"))
        except ValueError:
            if part != "deadline":
                failures.append(OriginError(name, Fault.SERVER, detail))
    return tuple(failures)
