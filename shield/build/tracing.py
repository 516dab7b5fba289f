"""Traces, made of settings."""

from __future__ import annotations

from collections.abc import Callable

from shield.config.settings import Settings
from shield.fill.means import Means
from shield.observe.accounting import Accounting
from shield.shared import Seat
from shield.tracing.service import Tracing
from shield.tracing.tracer import TracingTerms


def tracing_of(
    settings: Settings, place: Seat, means: Means, accounting: Accounting, clock: Callable[[], float]
) -> Tracing:
    """The traces of the worker in this seat."""
    terms = tracing_terms(settings, place.workers)
    return Tracing(terms, means, accounting, node=settings.node, worker=place.worker, clock=clock)


def tracing_terms(settings: Settings, workers: int) -> TracingTerms | None:
    """What settings say of traces, for one of the workers; None: there are none."""
    tracing = settings.tracing
    if tracing is None:
        return None
    sample = tracing.sample
    return TracingTerms(
        tracing.endpoint,
        sample.misses,
        sample.errors,
        sample.hits,
        sample.per_second / workers,
        tracing.parent,
        tracing.service,
        tracing.timeout,
        tuple([(name, value.get_secret_value()) for name, value in tracing.headers.items()]),
    )
