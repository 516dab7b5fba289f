"""Requests to origins, as parts of a trace: noted, and told to servers that may go on with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from shield.errors import OriginError
from shield.messages import Field
from shield.origin.response import Response
from shield.rules.traceparent import TRACEPARENT, TRACESTATE
from shield.trace import AttemptTrace, FetchTrace


def with_context(fields: Sequence[Field], trace: FetchTrace, attempt: AttemptTrace | None) -> tuple[Field, ...]:
    """The fields of a request with the trace's own, in place of those that were forwarded."""
    others = [line for line in fields if line[0] not in (TRACEPARENT, TRACESTATE)]
    return (*others, *trace.fields(attempt))


async def noted(attempt: AttemptTrace | None, response: Awaitable[Response], clock: Callable[[], float]) -> Response:
    """The response, with its time noted, or that of its failure."""
    try:
        found = await response
    except OriginError as error:
        if attempt is not None:
            attempt.failed(error.fault.value, clock())
        raise
    except BaseException:
        if attempt is not None:
            attempt.failed("cancelled", clock())
        raise
    if attempt is not None:
        attempt.answered(found.head.status, clock())
    return found
