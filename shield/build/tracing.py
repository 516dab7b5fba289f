"""Traces, made of settings."""

from __future__ import annotations

from shield.config.settings import Settings
from shield.tracing.tracer import TracingTerms


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
