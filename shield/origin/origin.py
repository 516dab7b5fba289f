"""One origin: one attempt at its bucket, and how its answers are read.

An answer is committed to only when it is the object itself; nothing that an error body says ever leaves this room but
as a fault.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from shield.errors import Fault, OriginError
from shield.origin.pool import Pool, PoolStatistics
from shield.origin.response import Response
from shield.origin.signer import Signer
from shield.origin.want import Absent, Fetched, Want, belies_parts, mismatch, without_parts
from shield.rules import dates, s3_errors
from shield.rules.freshness import allowed_lifetime
from shield.rules.loops import Gateway
from shield.rules.providers import Provider
from shield.rules.ranges import Span
from shield.rules.routing import Candidate
from shield.rules.s3_errors import Answer

log = logging.getLogger("shield.origin")

ERROR_BODY_LIMIT = 64 * 1024
SKEW_NOTICED = 60.0
"""Seconds by which an origin's Date must differ from our clock before signatures follow it; below, it is noise."""


@dataclass(frozen=True, slots=True)
class OriginStatistics:
    fetches: int
    faults: Mapping[str, int]
    absent: int
    pool: PoolStatistics


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
        tentative span, which an empty object can't satisfy, or a useless success, without the span.
        """
        in_parts = True
        inform = None if self.provider.signed else want.inform  # a storage has nothing to say before its answer
        for last in (False, False, True):
            request_time = clock()
            self.fetches += 1
            fields = want.fields()
            if self._gateway is not None:
                fields = self._gateway.introduced(fields, want.asked)
            head = self.signer.head(want.method, want.path, request_time, fields, query=want.query)
            response = await self.pool.fetch(head, method=want.method, deadline=deadline, inform=inform)
            response_time = clock()
            status = response.head.status
            if status == 200 and want.span is None:
                if not in_parts:
                    response.head = without_parts(response.head)
                return Fetched(self.name, response, request_time, response_time)
            if 200 <= status < 300 or status == 304:
                problem = mismatch(want, response.head)
                if problem is not None and want.tentative and not last:
                    response.close()
                    want, in_parts = want.whole(), False
                    continue
                if problem is not None:
                    self._refuse(problem, response)
                if belies_parts(want, response.head):
                    response.head = without_parts(response.head)
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

    def _refuse(self, problem: tuple[Fault, str], response: Response) -> NoReturn:
        """A success that doesn't answer what was asked (RFC 9110 §15.3.7, §15.4.5)."""
        fault, detail = problem
        response.close()
        raise OriginError(self.name, fault, detail, status=response.head.status)

    def statistics(self) -> OriginStatistics:
        return OriginStatistics(self.fetches, dict(self.faults), self.absent, self.pool.statistics())


@dataclass(frozen=True, slots=True)
class _ErrorAnswer:
    status: int
    date: bytes | None
    code: str | None
    message: str
    lifetime: float = math.inf
