"""A response that isn't the object: reads its document, bounded, and its statements on time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

from shield.errors import OriginError
from shield.messages import ResponseHead
from shield.origin.decoding import decoded
from shield.origin.response import Response
from shield.rules import dates, s3_errors

BODY_LIMIT = 64 * 1024
"""Bytes read of an error document, compressed or not."""

_LONGEST_RETRY = 3600.0


class Mend(Enum):
    """The reason for a second request in the same attempt, and its differences."""

    BEGINNING = (
        "beginning"  # a tentative span begins beyond the object: request its beginning, which tells its length
    )
    SPAN = "span"  # an empty object satisfies no tentative span: request the whole
    PARTS = "parts"  # the response to a tentative span is no part of the object: request the whole
    CONNECTION = "connection"  # the origin had closed the kept one: use a new one
    CLOCK = "clock"  # it was signed with a wrong clock: use the origin's
    CREDENTIALS = "credentials"  # they were replaced meanwhile: sign with the new ones


@dataclass(frozen=True, slots=True)
class Refusal:
    """Status, head and the relevant parts of the document; `kept`: it came on a connection used before."""

    head: ResponseHead
    kept: bool
    code: str | None = None
    message: str = ""
    region: str | None = None

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def detail(self) -> str:
        """For logs."""
        said = f"{self.status} {self.code or ''} {self.message}".strip()
        advice = s3_errors.elsewhere(self.status, self.code, self.region)
        return f"{said}; {advice}" if advice else said

    @property
    def is_of_time(self) -> bool:
        """Whether the origin timed out waiting for a request: it had given up the connection before one came."""
        return self.status == 408 or self.code == "RequestTimeout"

    @property
    def date(self) -> float | None:
        """The sender's clock now."""
        return clock_of(self.head)

    def retry_after(self, now: float) -> float | None:
        """Seconds for which it asks to be left alone (RFC 9110 §10.2.3), at most an hour; None if it doesn't."""
        said = (self.head.get(b"retry-after") or b"").strip()
        if self.status not in (429, 503) or not said:
            return None
        if said.isdigit():
            return min(float(said[:10]), _LONGEST_RETRY)
        until = dates.parse(said)
        if until is None:
            return None
        its_now = self.date  # the clock it refers to
        return min(max(0.0, until - (now if its_now is None else its_now)), _LONGEST_RETRY)


def clock_of(head: ResponseHead) -> float | None:
    """The sender's clock now: a cache on the way keeps a Date and counts its Age (RFC 9111 §5.1)."""
    stated = dates.parse(head.get(b"date") or b"")
    if stated is None:
        return None
    ages = head.all(b"age")
    if not ages:
        return float(stated)
    age = ages[0].strip()
    return float(stated + int(age)) if age.isdigit() and len(age) < 10 else None  # else of unknown age


async def read_refusal(response: Response, deadline: float) -> Refusal:
    """Read an error's document, as far as it comes before the deadline; else only the status counts."""
    head = response.head
    try:
        async with asyncio.timeout_at(deadline):
            body = await response.read(BODY_LIMIT)
    except (OriginError, TimeoutError):
        response.close()
        return Refusal(head, response.kept)
    body = decoded(body, head.get(b"content-encoding"), limit=BODY_LIMIT)
    code, message = s3_errors.error_code(body)
    return Refusal(head, response.kept, code, message, s3_errors.region(head.get(b"x-amz-bucket-region"), body))
