"""The source of a fill: origins, or the worker of this node that owns the key.

Each key has one owner among a node's workers. It fetches from origins for all of them, so that requests are collapsed
(request coalescing) in the node as they are in one worker. The others send it a client's request, `GET target`, over
its unix socket: it answers from its store, or by a fill of its own. `words` defines the wire format.

An owner that is down, or lost before its head, is bypassed: the requesting worker uses the origins itself. An
owner refuses keys that it doesn't own, so that no request goes round in circles.

Fills have it as their `Means.source`, if the node has several workers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from shield.complaints import Complaints
from shield.errors import Fault, OriginError
from shield.messages import Request
from shield.origin.asked import Asked
from shield.origin.dial import Endpoint
from shield.origin.origins import Origins
from shield.origin.plain import Fetching, FetchTaker
from shield.origin.pool import Pool
from shield.origin.terms import PoolLimits, Timeouts
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.outcome import node_name
from shield.peers import words
from shield.peers.asking import Respondent, ask
from shield.peers.watch import Watch
from shield.rules.key import CacheKey
from shield.rules.rendezvous import Rendezvous

log = logging.getLogger("shield.origin")

# An open one costs little, and a slow client's must not delay others; workers send no body after HEAD.
_LIMITS = PoolLimits(connections=1024, watch=0.0)
_AVOID_SECONDS = 10.0
_REPORT_SECONDS = 1.0
_REPORT_BYTES = 4 << 20

# No response in time: the owner is there but stuck. Later fetches needn't find out again.
_STUCK = frozenset({Fault.FIRST_BYTE_TIMEOUT, Fault.TOTAL_TIMEOUT})
# The owner's statement on the object, or the end of this worker: origins wouldn't change it.
_FINAL = frozenset({Fault.POOL_TIMEOUT, Fault.VALIDATOR, Fault.CANCELLED})


@dataclass(frozen=True, slots=True)
class Ring:
    """The workers of a node: this one's number, their unix sockets, and whether one is known to be down.

    One that `is_silent` hangs, whatever it was doing: it is no longer waited for.
    """

    worker: int
    sockets: Sequence[str]
    is_down: Callable[[int], bool]
    is_silent: Callable[[int], bool] = lambda worker: False


@dataclass(frozen=True, slots=True)
class OwnerStatistics:
    asked: int  # fetches sent to another worker
    done_without: int  # fetches of other workers' keys sent to the origins


class Owners:
    """A node's workers as a source of fills. Made and used within one event loop; `close` it before the origins.

    `node` is its name; `timeouts` are those towards owners: `first_byte` a little above an owner's limit for all
    its attempts at origins, the others above the origins' own.
    """

    def __init__(
        self, origins: Origins, ring: Ring, *, node: str, timeouts: Timeouts, clock: Callable[[], float]
    ) -> None:
        self._origins = origins
        self._node = node_name(node) + b"; "
        self._worker = ring.worker
        self._is_down = ring.is_down
        self._watch = Watch(ring.is_silent)
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
        self._complaints = Complaints(log)
        self._asked = self._done_without = 0

    def use(self, timeouts: Timeouts) -> None:
        """Hold owners to these from now on."""
        self._timeouts = timeouts
        for pool in self._pools.values():
            pool.use(timeouts)

    def owns(self, key: CacheKey) -> bool:
        """Whether this worker fetches the key from origins."""
        return self._owner(key.digest) == self._worker

    def fetch(self, names: Sequence[str], want: Want) -> Coroutine[Any, Any, Fetched | Absent | Failed]:
        """As `Origins.fetch`, through the key's owner. Leaves nothing when cancelled."""
        key, request = want.key, want.request
        owner = self._worker if key is None or request is None or want.alone else self._owner(key.digest)
        if key is None or request is None or owner == self._worker:
            return self._origins.fetch(names, want)
        return self._fetch_from(owner, key, request, names, want)

    def begin(self, names: Sequence[str], want: Want, taker: FetchTaker) -> Fetching | None:
        """As `Origins.begin`, of a key that this worker owns; None for others."""
        key = want.key
        if key is None or want.request is None or want.alone or self._owner(key.digest) == self._worker:
            return self._origins.begin(names, want, taker)
        return None

    async def _fetch_from(
        self, owner: int, key: CacheKey, request: Request, names: Sequence[str], want: Want
    ) -> Fetched | Absent | Failed:
        if not self._is_down(owner) and self._now() >= self._avoided_until[owner]:
            self._asked += 1
            try:
                return await self._watch.wait(owner, self._ask(owner, key, request, want))
            except TimeoutError:
                self._complain(owner, OriginError(f"worker-{owner}", Fault.FIRST_BYTE_TIMEOUT, "it hangs"))
            except OriginError as error:
                if error.fault in _STUCK:
                    self._avoided_until[owner] = self._now() + _AVOID_SECONDS
                if error.fault in _FINAL:
                    return Failed((error,))
                self._complain(owner, error)
        self._done_without += 1
        return await self._origins.fetch(names, want)

    async def _ask(self, owner: int, key: CacheKey, request: Request, want: Want) -> Fetched | Absent | Failed:
        """The owner's response. Raises OriginError when it is of no use."""
        other = Respondent(f"worker-{owner}", self._pools[owner], self._node)
        further = ((words.HOPS, b"%d" % request.hops),) if request.hops else ()
        deadline = self._now() + self._timeouts.first_byte
        return await ask(other, key, request, want, further, deadline=deadline, clock=self._clock)

    async def reports(self, target: bytes) -> list[bytes]:
        """The other workers' responses to a target of theirs, from all that respond within a second."""
        answers = await asyncio.gather(*[self._report(number, target) for number in self._pools])
        return [answer for answer in answers if answer is not None]

    async def _report(self, worker: int, target: bytes) -> bytes | None:
        if self._is_down(worker):
            return None
        try:
            async with asyncio.timeout(_REPORT_SECONDS):
                deadline = self._now() + _REPORT_SECONDS
                head = words.request_head(b"GET", target, ())
                response = await self._pools[worker].fetch(Asked(head, b"GET", deadline))
                return await response.read(_REPORT_BYTES)
        except (OriginError, TimeoutError):
            return None

    def statistics(self) -> OwnerStatistics:
        return OwnerStatistics(self._asked, self._done_without)

    async def close(self) -> None:
        self._watch.close()
        for pool in self._pools.values():
            await pool.close()

    def _complain(self, owner: int, error: OriginError) -> None:
        said = (owner, error.fault.value, error.detail)
        self._complaints.say(owner, self._now(), "worker %d gave no response: %s: %s; using the origins", *said)


def _only_one(digest: bytes) -> int:
    return 0
