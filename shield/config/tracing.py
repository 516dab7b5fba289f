"""Settings of traces, which are sent by OpenTelemetry's protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from shield.config.section import EndpointUrl, FieldName, Secret, Section, Text
from shield.config.units import Duration, Portion, duration, share

HEADERS = ("tracing", "headers")
"""The mapping whose values are secrets."""

TRACES = "/v1/traces"
"""The path of a collector for traces, where an endpoint has none."""


def _whole(value: str) -> str:
    return value if urlsplit(value).path.strip("/") else value.rstrip("/") + TRACES


class SampleSettings(Section):
    """Which requests are traced: decided before they are carried out, so that others cost nothing."""

    misses: Portion = share(
        "100%", "Share of the requests that are forwarded to an origin, with all that is done for them."
    )
    errors: Portion = share(
        "100%",
        "Share of the responses with 5xx, and of those that break off. They have spans of fetches only if they are "
        "among the misses that are traced.",
    )
    hits: Portion = share("0%", "Share of the hits: a span costs ten times as much as a hit itself.")
    per_second: Annotated[float, Field(gt=0, le=10_000)] = Field(
        default=50.0,
        description="Requests of the node that are traced in a second, at most, whatever their shares are and their "
        "senders say.",
    )


class TracingSettings(Section):
    """Spans of requests, of fetches for them, and of requests to origins, to an OpenTelemetry collector. Needs the
    extra `otel`.
    """

    endpoint: Annotated[EndpointUrl, AfterValidator(_whole)] = Field(
        description="URL of a collector for OTLP over HTTP, as http://127.0.0.1:4318. Without a path: /v1/traces.",
    )
    headers: Mapping[FieldName, Secret] = Field(
        default_factory=dict,
        description="Fields of requests to it, as its API key. OTEL_EXPORTER_OTLP_HEADERS works as well.",
        json_schema_extra={"additionalProperties": False},
    )
    service: Text = Field(default="shield", description="`service.name` of the spans.")
    sample: SampleSettings = Field(default_factory=SampleSettings, description="Which requests are traced.")
    parent: bool = Field(
        default=True,
        description="Go on with traces of requests with a valid `traceparent` (W3C Trace Context), and heed whether "
        "it is sampled. Set false behind a CDN that passes on what clients send.",
    )
    timeout: Duration = duration("10s", "To send a batch of spans, repetitions included.", least="100ms")
