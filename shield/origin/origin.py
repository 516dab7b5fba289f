"""One origin: one attempt at its bucket, and the reading of its responses.

It commits only to a response that is the object itself; the text of an error body leaves this module only as part of
a fault.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from shield.budget_cells import unbudgeted
from shield.egress.meter import Meters
from shield.errors import Fault, OriginError
from shield.histograms import Histogram
from shield.origin.asked import Asked
from shield.origin.attempt import PlainAttempt
from shield.origin.by_get import NO_HEAD, ask_by_get
from shield.origin.connection import Connection
from shield.origin.copies import fetch_same
from shield.origin.damage import STATING, guard
from shield.origin.drilling import Drill
from shield.origin.faults import BREAKS
from shield.origin.gate import Gate
from shield.origin.note import Note
from shield.origin.pool import Pool
from shield.origin.refusal import Mend, Refusal, read_refusal
from shield.origin.request_heads import RequestHeads
from shield.origin.response import Asker, Response
from shield.origin.rotation import Rotation
from shield.origin.signer import Credentials, Signer, follow_clock
from shield.origin.statistics import HealthStatistics, OriginStatistics
from shield.origin.terms import PoolLimits
from shield.origin.traced import noted, with_context
from shield.origin.waiting import Waiting
from shield.origin.want import Absent, Fetched, Want, belies_parts, is_useless, mismatch, without_parts
from shield.records import Came, private
from shield.rules import s3_errors
from shield.rules.attempts import Extra
from shield.rules.budgets import BudgetAct, retry_after
from shield.rules.checksums import Vigilance
from shield.rules.denials import Denials
from shield.rules.drill import MARK
from shield.rules.egress import FetchReason, reason_of
from shield.rules.freshness import allowed_lifetime
from shield.rules.hedge import HedgeTally
from shield.rules.loops import Gateway
from shield.rules.providers import Provider
from shield.rules.ranges import Span
from shield.rules.ranking import OriginFacts
from shield.rules.s3_errors import Answer
from shield.rules.vary import names_in

_SAMPLE_SECONDS = 10.0  # for which an object serves to probe the origin with

_UNKNOWN_PATH = b"/shield-credentials-probe"
"""An object that isn't there, to prove credentials with while none is known."""

_PROOF_SECONDS = 10.0

Renew = Callable[[], Awaitable[None]]


class Origin:
    """One S3 bucket endpoint: its signer, its pool, and the reading of its responses."""

    def __init__(
        self,
        name: str,
        *,
        provider: Provider,
        signer: Signer,
        pool: Pool,
        denied_is_absent: bool = False,
        passes_errors: bool = False,
        gateway: Gateway | None = None,
        facts: OriginFacts | None = None,
        most: int = PoolLimits().connections,
    ) -> None:
        self.name = name
        self.facts = facts or OriginFacts(name)
        self.provider = provider
        self._is_signed, self._has_md5_etags = provider.signed, provider.md5_etags
        self.signer = signer
        signer.owner = name
        self.pool = pool
        self._denied_is_absent = denied_is_absent
        self._passes_errors = passes_errors
        self.renew: Renew | None = None
        """Obtains the credentials again from their files or their source, and offers them to `keys`."""
        self._heads = RequestHeads(signer, None if provider.signed else gateway)  # to a storage we are a plain client
        self.fetches = 0
        self.absent = 0
        self.faults: Counter[str] = Counter()
        self.first_bytes = Histogram()
        """Times from requests to the heads of their responses, or until they were given up."""
        self.overtaken = 0
        self.probes: Counter[str] = Counter()
        """Probes by their result."""
        self.probe_bytes = 0
        self.meters = Meters()
        """Count its bytes; those of the worker are given by `Origins`."""
        self.extra = dict.fromkeys(Extra, 0)
        """Attempts at it that weren't the first of their fetch, by reason."""
        self.hedges = HedgeTally()
        self.seen = private().of(0, name.encode())
        """The knowledge of all workers about it; `Origins` assigns the place of an origin in use."""
        self.drill: Drill | None = None
        """Set while a drill runs, at this origin or at another one."""
        self.waiting = Waiting(asyncio.get_running_loop())
        """Fetches that wait for its response, and may go on elsewhere."""
        self.sample: tuple[bytes, bytes] | None = None
        """Path and query of an object that it gave lately, to probe it with."""
        self.most = most
        """Requests of the node that it may have at once."""
        self.gate = Gate(name, asyncio.get_running_loop())
        self.budget = unbudgeted()
        """The measures of budgets of egress against it; `Origins` assigns the cell of an origin in use."""
        self.watch: Callable[[str, Want, int], None] | None = None
        """Called with its name, each fetch that it has answered with an object, and the bytes of the response."""
        self._sampled_until = 0.0
        self._now = now = asyncio.get_running_loop().time
        self.clock: Callable[[], float] = now  # epoch seconds: `Origins` sets it
        self.keys = Rotation(name, signer, probe=self._why_refused, now=now) if provider.signed else None
        """Its credentials; None: requests aren't signed."""
        self.vigilance = Vigilance()
        """Which bodies are compared with their checksums."""
        self._denials = Denials()
        self._given_at: float | None = None  # when it last accepted our credentials
        pool.note_break = self._note_break

    @property
    def passes_errors(self) -> bool:
        """Whether clients get its errors unchanged."""
        return self._passes_errors

    @property
    def label(self) -> str:
        """Its name in the log."""
        return self.name if self._drilled is None else f"{self.name} {MARK}"

    @property
    def _drilled(self) -> str | None:
        return None if self.drill is None else self.drill.mode

    @property
    def identity(self) -> bytes:
        """Tells it from all others, and is the same for all workers."""
        return b"%b %b" % (self.name.encode(), self.signer.place)

    async def fetch(
        self, want: Want, *, deadline: float, clock: Callable[[], float], extra: Extra | None = None
    ) -> Fetched | Absent:
        """One attempt; OriginError for any response other than the object or its absence. `extra` is the reason of
        an attempt that isn't the first.

        Faults that a second request can mend (`Mend`) are repeated at once, each once.
        """
        if self.budget.acts[0]:
            self._ask_budget(want, clock())
        if (version := want.version) is not None:
            if extra is not None:
                want = replace(want, purpose=reason_of(None, extra))
            return await fetch_same(self, want, version, deadline=deadline, clock=clock)
        if self.gate.used >= self.gate.room:
            await self.gate.wait(want, deadline)
        request_time, note = clock(), self._note(want, extra, opens=self.pool.opens)
        try:
            response = await self._ask(want, request_time, deadline, note)
            if response.head.status != 200 or want.span is not None:
                return note.answered(await self._read(want, response, request_time, deadline, clock, note))
        except BaseException as error:
            self._end(note, error, want.path, deadline)
            raise
        return self._given(want, response, request_time, clock, note)

    def begin(self, want: Want, *, deadline: float, asker: Asker) -> PlainAttempt | None:
        """The first attempt of a fetch without a task, of which `asker` is told later. None, and nothing has been
        done: it takes `fetch`, since it would have to wait, or more goes with it than one request.
        """
        gate, pool = self.gate, self.pool
        if gate.used >= gate.room or not pool.idle or pool.flow is not None or self.budget.acts[0]:
            return None
        if self.drill is not None or want.version is not None or want.trace is not None or want.fresh:
            return None
        request_time = self.clock()
        try:
            head = self._heads.of(want, request_time)
        except OriginError:
            return None  # `fetch` says why
        note = self._note(want, None, opens=False)
        inform = None if self._is_signed else want.inform
        asked = Asked(head, want.method, deadline, inform, note.sent, False, note.meter)
        note.signed_with = self.signer.signed_with
        sent = pool.ask(asked, asker)
        if sent is None:
            note.withdraw()
            return None
        self.fetches += 1
        connection, response = sent
        return PlainAttempt(want, note, asked, connection, response, request_time)

    def take(self, attempt: PlainAttempt) -> Fetched | None:
        """The result of an attempt whose response has come, if it is the object and there was nothing unusual."""
        response, want, note = attempt.response, attempt.want, attempt.note
        if not response.answered or self.pool.ill or response.head.status != 200 or want.span is not None:
            return None
        self._heard(response, note)
        return self._given(want, response, attempt.request_time, self.clock, note)

    async def go_on(self, attempt: PlainAttempt) -> Fetched | Absent:
        """The result of an attempt, whatever it takes; OriginError as `fetch`."""
        want, asked, note, began = attempt.want, attempt.asked, attempt.note, attempt.request_time
        try:
            response = await self.pool.await_head(attempt.connection, attempt.response, asked)
            self._heard(response, note)
            if response.head.status != 200 or want.span is not None:
                return note.answered(await self._read(want, response, began, asked.deadline, self.clock, note))
        except BaseException as error:
            self._end(note, error, want.path, asked.deadline)
            raise
        return self._given(want, response, began, self.clock, note)

    def give_up(self, attempt: PlainAttempt) -> None:
        """Nobody waits for an attempt any more that hasn't ended."""
        self.pool.give_up(attempt.connection, attempt.response)
        self._end(attempt.note, asyncio.CancelledError(), attempt.want.path, attempt.asked.deadline)

    def _given(
        self, want: Want, response: Response, request_time: float, clock: Callable[[], float], note: Note
    ) -> Fetched:
        """The object, in response to a request for the whole."""
        if note.gave(Came.OK, response) >= self._sampled_until and want.method == b"GET":
            self.sample, self._sampled_until = (want.path, want.query), self._now() + _SAMPLE_SECONDS
        self._given_at = response_time = clock()
        if self.watch is not None:
            self.watch(self.name, want, response.head.length or 0)
        if self._has_md5_etags or not STATING.isdisjoint(response.head.named):
            guard(response, self, want)
        return Fetched(self.name, response, request_time, response_time)

    def _ask_budget(self, want: Want, now: float) -> None:
        """Raises OriginError if a budget refuses this fetch."""
        budget = self.budget
        if budget.does(BudgetAct.REFUSE) and not want.is_probe:
            said, again = "the budget of its egress is spent", retry_after(budget.until, now)
            raise OriginError(self.name, Fault.OVER_BUDGET, said, retry_after=again)

    def _end(self, note: Note, error: BaseException, key: bytes, deadline: float) -> None:
        """An attempt failed, or was given up."""
        if not isinstance(error, OriginError) or error.fault is Fault.FIRST_BYTE_TIMEOUT:
            self.first_bytes.add(self._now() - note.began)  # it wasn't faster than that
        note.ended(error, key, deadline)

    async def _read(
        self,
        want: Want,
        response: Response,
        request_time: float,
        deadline: float,
        clock: Callable[[], float],
        note: Note,
    ) -> Fetched | Absent:
        """The result of any response to a first request, after further requests if these can mend it."""
        mend: Mend | None = None
        mended: set[Mend] = set()
        while True:
            if want.method == b"HEAD" and self._needs_get(response.head.status):
                ask = partial(self._ask, now=request_time, deadline=deadline, note=note)
                response = await ask_by_get(want, response, ask, name=self.name, signed=self.provider.signed)
            response_time = clock()
            if want.tentative and is_useless(want, response):
                response.close()
                want, mend = want.whole(), Mend.PARTS
            elif (want.span is None and response.head.status == 200) or self._is_answer(want, response):
                self._given_at = response_time
                if Mend.CREDENTIALS in mended and self.keys is not None:
                    self.keys.settle_doubt(old_work=True)
                if Mend.PARTS in mended or (want.span is not None and belies_parts(want, response.head)):
                    response.head = without_parts(response.head)
                guard(response, self, want)
                if self.watch is not None:
                    self.watch(self.name, want, response.head.length or 0)
                return Fetched(self.name, response, request_time, response_time)
            else:
                refusal = await read_refusal(response, deadline)
                mend = self._mend(want, refusal, response_time)
                if (mend is None or mend in mended) and await self._has_others(note.signed_with, refusal, deadline):
                    mend = Mend.CREDENTIALS
                if mend is None or mend in mended:
                    if Mend.CREDENTIALS in mended and self.keys is not None:
                        self.keys.settle_doubt(old_work=False)
                    return self._conclude(want, refusal, response_time)
                if mend is Mend.BEGINNING:
                    want = want.beginning()
                elif mend is Mend.SPAN:
                    want = want.whole()
            mended.add(mend)
            request_time = clock()
            response = await self._ask(want, request_time, deadline, note, fresh=mend is Mend.CONNECTION)

    async def ask(self, want: Want, now: float, deadline: float) -> Response:
        """The response to one request, whatever it is: to examine the origin. Raises OriginError."""
        want.purpose = want.purpose or FetchReason.PROBE
        note = self._note(want, None, opens=self.pool.opens)
        try:
            return await self._ask(want, now, deadline, note)
        finally:
            note.given_up(want.path, counts=False)

    async def _ask(self, want: Want, now: float, deadline: float, note: Note, *, fresh: bool = False) -> Response:
        self.fetches += 1
        if (trace := want.trace) is None:
            head = self._heads.of(want, now)
        else:
            attempt = trace.begin(self.name, want.method, self.signer.url, want.path, now)
            fields = self._heads.fields(want)
            fields = fields if self.provider.signed else with_context(fields, trace, attempt)
            head = self.signer.head(want.method, want.path, now, fields, query=want.query)
        note.signed_with = self.signer.signed_with
        send = self.pool.fetch if self.drill is None else partial(self.drill.fetch, self.pool, want)
        inform = None if self.provider.signed else want.inform  # storages send no interim responses
        asked = Asked(head, want.method, deadline, inform, note.sent, fresh or want.fresh, note.meter)
        response = await (send(asked) if trace is None else noted(attempt, send(asked), self.clock))
        self._heard(response, note)
        return response

    def _heard(self, response: Response, note: Note) -> None:
        """The head of a response has come."""
        note.meter.answered(response.head.status)
        if (tags := self.meters.tags) is not None:
            tags.answered(self.name, response.head, note.body_of(response.head))
        self.first_bytes.add(self._now() - note.began)

    def _note(self, want: Want, extra: Extra | None, *, opens: bool) -> Note:
        reason = FetchReason.MISS
        if extra or want.purpose or want.span or want.validators:
            reason = reason_of(
                want.purpose, extra, resumes=want.resumes is not None, validates=bool(want.validators), in_part=True
            )
        meter = self.meters.of(self.name, want.route, reason)
        return Note(self.seen, self.gate, self._now, want, meter, opens=opens)

    def _is_answer(self, want: Want, response: Response) -> bool:
        """Whether this is for the client. Raises OriginError for a success that doesn't match the request."""
        status = response.head.status
        if 200 <= status < 300 or status == 304:
            self._check(want, response)
            return True
        if self.provider.signed or (want.span is not None and not want.tentative):
            return False  # only the object, and nothing else in place of a part of it
        return self._passes_errors or s3_errors.passes(status)

    def _needs_get(self, status: int) -> bool:
        """Whether GET must replace HEAD: a storage gives its reasons in a body, and some don't support HEAD."""
        return status in NO_HEAD or (self.provider.signed and status >= 300 and status != 304)

    def _mend(self, want: Want, refusal: Refusal, now: float) -> Mend | None:
        """The fault in a refusal that a second request can mend; prepares that request. None if there is none."""
        if refusal.status == 416 and want.tentative:
            return Mend.BEGINNING if want.span is not None and want.span.start else Mend.SPAN
        if refusal.is_of_time and refusal.kept:
            return Mend.CONNECTION
        answer = s3_errors.classify(refusal.status, refusal.code, provider=self.provider)
        if self.provider.signed and answer is Answer.AUTH and follow_clock(self.signer, refusal.date, now):
            return Mend.CLOCK
        return None

    async def _has_others(self, signed: Credentials | None, refusal: Refusal, deadline: float) -> bool:
        """Whether credentials were refused that aren't, or needn't be, used any more."""
        keys = self.keys
        if signed is None or keys is None or self._answer(refusal) is not Answer.AUTH or refusal.message == MARK:
            return False
        keys.refused(signed, is_denial=s3_errors.denies(refusal.status, refusal.code))
        if self.signer.credentials is signed and self.renew is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self.renew()
        return self.signer.credentials is not signed

    def _answer(self, refusal: Refusal) -> Answer:
        status, code, absent = refusal.status, refusal.code, self._denied_is_absent
        return s3_errors.classify(status, code, provider=self.provider, denied_is_absent=absent)

    def _conclude(self, want: Want, refusal: Refusal, now: float) -> Absent:
        """Return the object's absence, or raise the OriginError that the refusal amounts to."""
        status, code = refusal.status, refusal.code
        if status == 412 and want.span is not None:
            raise OriginError(self.name, Fault.VALIDATOR, "another version is there now", status=status)
        answer = self._answer(refusal)
        denies = s3_errors.denies(status, code)
        if answer is Answer.ABSENT:
            self.absent += 1
            if not denies:
                self._given_at = now
            # Of a storage's keys none is there for one client and not for another.
            vary = () if self.provider.signed else names_in(refusal.head.all(b"vary"))
            unwell = () if self.seen.is_up or self.seen.treated().is_good else (self.name,)
            return Absent(410 if status == 410 else 404, allowed_lifetime(refusal.head), vary, (self.name,), unwell)
        if answer is Answer.AUTH and denies and self._denials.is_of_object(want.path, now, given_at=self._given_at):
            answer = Answer.FORBIDDEN
        raise OriginError(
            self.name,
            s3_errors.fault(answer),
            refusal.detail,
            status=status,
            retry_after=refusal.retry_after(now),
        )

    async def _why_refused(self, credentials: Credentials) -> str | None:
        """The reason why the origin doesn't accept credentials; None: it does."""
        path, query = self.sample or (_UNKNOWN_PATH, b"")
        signer, fields = self.signer.with_credentials(credentials), Want(b"GET", path, span=Span(0, 1)).fields()
        deadline = self._now() + _PROOF_SECONDS
        self.fetches += 1
        try:
            head = signer.head(b"GET", path, self.clock(), fields, query=query)
            meter = self.meters.of(self.name, "", FetchReason.PROBE)
            response = await self.pool.fetch(Asked(head, b"GET", deadline, meter=meter))
            meter.answered(response.head.status)
            if response.head.status in (200, 206):
                response.close()
                return None
            refusal = await read_refusal(response, deadline)
        except OriginError as error:
            return f"{error.fault.value}: {error.detail}"
        answer, denies = self._answer(refusal), s3_errors.denies(refusal.status, refusal.code)
        if answer in (Answer.ABSENT, Answer.FORBIDDEN, Answer.COLD) or refusal.status == 416:
            return None
        # A key that may not list the bucket is told so of an object that isn't there: it is known.
        return None if answer is Answer.AUTH and denies and self.sample is None else refusal.detail

    def _check(self, want: Want, response: Response) -> None:
        """Refuse a success that doesn't match the request (RFC 9110 §15.3.7, §15.4.5)."""
        problem = mismatch(want, response.head)
        if problem is not None:
            fault, detail = problem
            response.close()
            raise OriginError(self.name, fault, detail, status=response.head.status)

    def _note_break(self, connection: Connection, fault: Fault) -> None:
        """A body has broken off. That isn't the origin's doing if we ended it, or had left it unread for long."""
        if fault is not Fault.CANCELLED:
            self.faults[fault.value] += 1
        if fault in BREAKS and not connection.was_held:
            self.note_whole()
            self.seen.failed(Came.BROKEN, self._now(), connection.asked.head.partition(b"\r\n")[0])

    def note_whole(self) -> None:
        """Let all workers know when its last body had arrived whole. Not done for each body: only breaks need it."""
        self.seen.whole(self.pool.whole_at)

    def statistics(self) -> OriginStatistics:
        record, until = self.seen.record(), self.seen.drain.until
        flags, totals = self.seen.treated().flags, self.meters.totals(self.name)
        return OriginStatistics(
            self.fetches,
            {extra.value: count for extra, count in self.extra.items()},
            self.seen.repeats.saved,
            self.hedges.won,
            self.hedges.lost,
            self.hedges.wasted,
            dict(self.faults),
            {str(status): count for status, count in totals.statuses.items()},
            totals.requests,
            totals.received,
            self.overtaken,
            self.absent,
            dict(self.probes),
            self.probe_bytes,
            0.0 if self.pool.flow is None else round(self.pool.flow.waited, 3),
            self.pool.statistics(),
            self.gate.statistics(),
            HealthStatistics(
                state=record.state.name.lower(),
                since_seconds=round(self._now() - record.since, 1) if record.since else None,
                out_seconds=round(self._now() - record.bad_since, 1) if record.bad_since else 0.0,
                reason=record.why,
                flags=tuple([str(flag.name).lower() for flag in flags]),
                drained_until=until if 0.0 < until < math.inf else None,
                p95_seconds=None if self.seen.p95 is None else round(self.seen.p95, 4),
            ),
            None if self.keys is None else self.keys.statistics(),
            drill=self._drilled,
        )
