"""A worker's answer to the question whether its node can serve: for CDNs and DNS that choose among nodes by it.

Asking costs no fetch: the answer is made of what is known, at most once a second. While it is asked for, the worker
fetches a canary through itself, as a client would, every few seconds: the first that is configured, or one that
clients requested lately. `rules.checkup` has the verdict.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from shield.errors import RequestError
from shield.figures import Figures
from shield.messages import Part, Request
from shield.origin.probe_notes import kept
from shield.outcome import Outcome
from shield.proxy import Proxy
from shield.reply import Reply
from shield.rules.checkup import NodeFacts, WayCheck, is_bad, judge_node, status_of
from shield.rules.heads import split_block
from shield.rules.probing import SMALL_BYTES, KnownCanary, ProbeRecord, digest_of

_CACHED_SECONDS = 1.0
_CHECK_SECONDS = 5.0  # between two fetches of the canary
_ASKED_SECONDS = 60.0  # for which it is fetched after the last request
_LIMIT_SECONDS = 10.0  # of a fetch
_NOTHING = f"nothing in {_LIMIT_SECONDS:.0f} s"
_DAMAGED = "other bytes than at any origin"


class Checkup:
    """The checkup of one worker. Call `tick` once a second."""

    def __init__(self, figures: Figures, proxy: Proxy, *, frozen: Callable[[], bool]) -> None:
        """`frozen`: whether all origins failed together."""
        self._figures = figures
        self._proxy = proxy
        self._frozen = frozen
        self._clock = figures.clock
        self._now = asyncio.get_running_loop().time
        self._asked_at = -_ASKED_SECONDS
        self._way: WayCheck | None = None  # with `seconds_ago` at `_way_at`
        self._way_at = 0.0
        self._tried_at = -_CHECK_SECONDS
        self._canary: bytes | None = None  # the target that was fetched last
        self._check: asyncio.Task[None] | None = None
        self._answers: dict[bool, tuple[int, bytes]] = {}
        self._answered_at = 0.0

    def answer(self, query: bytes) -> tuple[int, bytes]:
        """The status, 200 or 503, and JSON. With `strict` in the query, its best origin has to be well, too."""
        now, strict = self._now(), b"strict" in query.split(b"&")
        self._asked_at = now
        if now - self._answered_at >= _CACHED_SECONDS:
            self._answers.clear()
            self._answered_at = now
        found = self._answers.get(strict)
        if found is None:
            found = self._answers[strict] = self._judged(strict, now)
        return found

    async def fresh(self, query: bytes) -> tuple[int, bytes]:
        """The same, after a canary has been fetched within the last seconds."""
        self._asked_at = self._now()
        self.tick()
        if self._check is not None:
            await asyncio.wait([self._check])
            self._answers.clear()
        return self.answer(query)

    def tick(self) -> None:
        """Fetch the canary, if that is wanted."""
        now = self._now()
        if self._check is not None or now - self._asked_at > _ASKED_SECONDS or now - self._tried_at < _CHECK_SECONDS:
            return
        self._canary, self._tried_at = self._chosen(), now
        if self._canary is None:
            self._way = None
        else:
            self._check = asyncio.get_running_loop().create_task(self._fetch(self._canary))

    async def close(self) -> None:
        if self._check is not None:
            self._check.cancel()
            await asyncio.wait([self._check])

    def _chosen(self) -> bytes | None:
        """The target of a canary: the first that is configured, else of one that clients requested lately."""
        if self._configured:
            return self._configured[0]
        canaries = {(canary.path, canary.query) for canary in self._known()}
        requested = self._proxy.in_force.regime.targets.young if canaries else {}
        return next(
            (
                target
                for target, resource in requested.items()
                if (resource.path, resource.query) in canaries and not resource.route.particular
            ),
            None,
        )

    @property
    def _configured(self) -> Sequence[bytes]:
        return self._figures.origins.prober.plan.targets

    def _known(self) -> list[KnownCanary]:
        """The canaries of all origins."""
        records = [kept(origin.seen) for origin in self._figures.origins.all()]
        return [canary for record in records if record is not None for canary in record.canaries]

    def _judged(self, strict: bool, now: float) -> tuple[int, bytes]:
        origins, readiness = self._figures.origins.all(), self._figures.readiness()
        canary, way = self._canary, None
        if canary is not None and self._way is not None and now - self._way_at <= _ASKED_SECONDS:
            way = WayCheck(now - self._way_at, self._way.problem, self._way.note)
        facts = NodeFacts(
            readiness.ready,
            readiness.troubles,
            {origin.name: origin.seen.treated() for origin in origins},
            self._best(canary),
            frozen=self._frozen(),
            way=way,
        )
        verdict, reason = judge_node(facts)
        status = status_of(verdict, facts, strict=strict)
        body: dict[str, object] = {
            "status": verdict.value,
            "reason": reason,
            "node": self._figures.name,
            "best": facts.best,
            "canary": None if canary is None else canary.decode("ascii", "replace"),
            "way": None if way is None else way.problem or way.note or "ok",
            "way_seconds_ago": None if way is None else round(way.seconds_ago, 1),
            "origins": {
                origin.name: {
                    "verdict": "bad" if is_bad(facts.origins[origin.name]) else "ok",
                    "state": facts.origins[origin.name].state.name.lower(),
                    "flags": [str(flag.name).lower() for flag in facts.origins[origin.name].flags],
                    "reason": facts.origins[origin.name].why,
                    **self._last_probe(kept(origin.seen)),
                }
                for origin in origins
            },
            "troubles": list(readiness.troubles),
        }
        return status, json.dumps(body).encode() + b"\n"

    def _last_probe(self, record: ProbeRecord | None) -> dict[str, object]:
        last = None if record is None else record.last
        if last is None:
            return {"probe": None, "probe_seconds_ago": None}
        return {"probe": last.finding.value, "probe_seconds_ago": round(max(0.0, self._clock() - last.at), 1)}

    def _best(self, canary: bytes | None) -> str | None:
        """The origin that is asked first while all are well: for the canary, else by most routes."""
        if canary is not None:
            try:
                return self._proxy.resolve(canary).tried[0]
            except RequestError:
                return None
        first = [names[0] for names in self._proxy.in_force.origins_by_route().values() if names]
        return max(first, key=first.count) if first else None

    # the canary

    async def _fetch(self, target: bytes) -> None:
        try:
            way = await self._fetched(target)
        except RequestError as error:
            way = WayCheck(0.0, note=str(error))
        except TimeoutError:
            way = WayCheck(0.0, _NOTHING)
        finally:
            self._check = None
        self._way, self._way_at = way if self._configured else _of_any_object(way), self._now()

    async def _fetched(self, target: bytes) -> WayCheck:
        request = Request.of(b"GET", target, [(b"range", b"bytes=0-%d" % (SMALL_BYTES - 1))])
        taker = _Taker()
        reply = self._proxy.try_hit(request, self._clock())
        if reply is not None:
            taker.reply(reply)
        else:
            transfer = self._proxy.open(request, taker)
            try:
                async with asyncio.timeout(_LIMIT_SECONDS):
                    await taker.done
            finally:
                transfer.abandon()
        if taker.status >= 500 or taker.is_broken:
            return WayCheck(0.0, "its body broke off" if taker.is_broken else f"status {taker.status}")
        if taker.status not in (200, 206):
            return WayCheck(0.0, note=f"status {taker.status}")
        return WayCheck(0.0, self._deviation(target, taker))

    def _deviation(self, target: bytes, taker: _Taker) -> str | None:
        """The problem of a body that no origin has under its ETag; None: one has it, or none is known to."""
        resource = self._proxy.resolve(target)
        known = {
            canary.small
            for canary in self._known()
            if (canary.path, canary.query) == (resource.path, resource.query) and canary.etag == taker.etag
        }
        is_other = digest_of(taker.body[:SMALL_BYTES]) not in known
        return _DAMAGED if known - {None} and is_other else None


def _of_any_object(way: WayCheck) -> WayCheck | None:
    """A check by an object that clients requested lately: it may be gone, or broken, which proves nothing."""
    if way.note is not None:
        return None
    return way if way.problem in (None, _DAMAGED) else WayCheck(way.seconds_ago, note=way.problem)


class _Taker:
    """The client inside: it takes a response's first bytes. Implements `Client`."""

    def __init__(self) -> None:
        self.ready = True
        self.untaken = 0
        self.status = 0
        self.etag: bytes | None = None
        self.body = b""
        self.is_broken = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def inform(self, block: bytes) -> None:
        pass

    def reply(self, reply: Reply) -> None:
        self._head(reply.head)
        for part in reply.parts:
            self.write(part)
        self.finish(clean=True)

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        self._head(head)
        if data is not None:
            self.write(data)

    def write(self, data: Part) -> None:
        if len(self.body) < SMALL_BYTES:
            self.body += data
            if len(self.body) >= SMALL_BYTES:
                self._settle()

    def finish(self, *, clean: bool) -> None:
        self.is_broken = not clean and not self.done.done()
        self._settle()

    def _head(self, head: bytes) -> None:
        self.status, fields = split_block(head)
        self.etag = next((value for name, value in fields if name == b"etag"), None)

    def _settle(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
