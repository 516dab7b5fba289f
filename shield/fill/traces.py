"""Traces of fills and of runs: from the question to what became of it."""

from __future__ import annotations

from typing import Protocol

from shield.errors import OriginError
from shield.fill.means import Means
from shield.origin.want import Failed, Want, reasons
from shield.rules.routes import Resource
from shield.trace import FetchTrace


class Traced(Protocol):
    """A fill, as far as its trace tells of it."""

    origin: str | None
    status: int
    committed: bool
    failure: Failed | OriginError | None


def begin_trace(want: Want, resource: Resource, means: Means, *, is_background: bool) -> FetchTrace | None:
    """The trace of a fetch that begins; None: it isn't traced."""
    if means.traces is None or want.request is None:
        return None
    want.trace = means.traces.begin(want.request, resource.key, resource.path, is_background=is_background)
    return want.trace


def end_trace(trace: FetchTrace, fill: Traced, now: float, received: int) -> None:
    """The fill is over."""
    problem = None if fill.failure is None else reasons(fill.failure)[0]
    trace.end(now, fill.origin, fill.status, received=received, problem=problem, is_stored=fill.committed)


def end_trace_of_run(trace: FetchTrace, origin: str | None, failure: Failed | OriginError | None, now: float) -> None:
    """A run of slices is over; whether they are stored shows elsewhere."""
    problem = None if failure is None else reasons(failure)[0]
    trace.end(now, origin, 0, received=0, problem=problem, is_stored=False)
