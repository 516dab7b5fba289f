"""An OpenTelemetry collector on 127.0.0.1: OTLP over HTTP, read by OpenTelemetry's own protobuf messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.doubles.posts import PostServer

KINDS = {1: "internal", 2: "server", 3: "client"}


@dataclass(frozen=True)
class Span:
    """A span as it came. `parent` is empty for a root."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    began: int
    ended: int
    attributes: dict[str, Any]
    is_error: bool
    links: tuple[tuple[str, str], ...]
    resource: dict[str, Any]


@dataclass
class Collector(PostServer):
    """`with Collector() as collector:`. `status` is its answer."""

    spans: list[Span] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    status: int = 200

    def take(self, path: str, fields: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        self.heads.append(fields)
        if self.status == 200 and path == "/v1/traces":
            self.spans += _spans(body)
        return self.status, {"content-type": "application/x-protobuf"}

    @property
    def url(self) -> str:
        return self.place

    def wait_for(self, count: int) -> list[Span]:
        """The spans, once there are so many."""
        return self.once(self.spans, count)


def _spans(body: bytes) -> list[Span]:
    message = ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            span.name,
            KINDS[span.kind],
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            _plain(span.attributes),
            span.status.code == 2,
            tuple([(link.trace_id.hex(), link.span_id.hex()) for link in span.links]),
            _plain(of_resource.resource.attributes),
        )
        for of_resource in message.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
