"""The thread that sends spans by OTLP over HTTP. Only here OpenTelemetry is imported: it is an extra."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from shield import __version__
from shield.complaints import Complaints
from shield.trace import FetchTrace
from shield.tracing.spans import RequestTrace, SpanKind, SpanRecord, of_fetch, of_request
from shield.tracing.tracer import TracingTerms

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

log = logging.getLogger("shield.tracing")

_PAUSE_SECONDS = 1.0  # between two batches, unless many wait: small ones keep the thread from the loop for less
_BATCH = 128  # records
_END_SECONDS = 3.0  # to send what is left


class SpanExport:
    """Takes records from a queue, and sends their spans, until it is closed."""

    def __init__(
        self,
        terms: TracingTerms,
        queue: deque[RequestTrace | FetchTrace],
        *,
        node: str,
        worker: int,
        clock: Callable[[], float],
    ) -> None:
        self.sent = 0
        self.failed = 0
        self._terms = terms
        self._queue = queue
        self._node = node
        self._worker = worker
        self._clock = clock
        self._complaints = Complaints(log)
        self._many = threading.Event()
        self._is_over = False
        self._spans: _Spans | None = None
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Send all waiting spans now."""
        self._many.set()

    def close(self) -> None:
        """Send the remaining spans, for some seconds at most. Blocks."""
        self._is_over = True
        self._many.set()
        self._thread.join(_END_SECONDS)
        if self._spans is not None:
            self._spans.stop()

    def _run(self) -> None:
        try:
            spans = self._spans = _Spans(self._terms, self._node, self._worker)
        except Exception:
            log.exception("spans can't be sent")
            return
        while True:
            self._many.wait(_PAUSE_SECONDS)
            self._many.clear()
            is_over = self._is_over
            while self._queue:
                self._send(spans)
            if is_over:
                return

    def _send(self, spans: _Spans) -> None:
        records: list[SpanRecord] = []
        for _ in range(min(_BATCH, len(self._queue))):
            try:
                each = self._queue.popleft()
            except IndexError:  # the thread of former settings takes what it left
                break
            if isinstance(each, FetchTrace):
                records += of_fetch(each)
            else:
                records.append(of_request(each))
        try:
            well = spans.send(records)
        except Exception as error:
            log.debug("spans can't be sent", exc_info=True)
            well = f"{type(error).__name__}: {error}"
        if well is None:
            self.sent += len(records)
            return
        self.failed += len(records)
        self._complaints.say("export", self._clock(), "spans can't be sent: %s", well)


class _Spans:
    """OpenTelemetry's exporter, and our records as its spans."""

    def __init__(self, terms: TracingTerms, node: str, worker: int) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._exporter = OTLPSpanExporter(
            endpoint=terms.endpoint, headers=dict(terms.headers) or None, timeout=terms.timeout
        )
        self._resource = Resource.create(
            {
                "service.name": terms.service,
                "service.version": __version__,
                "service.instance.id": node,
                "shield.worker": worker,
            }
        )
        self._scope = InstrumentationScope("shield", __version__)

    def send(self, records: Sequence[SpanRecord]) -> str | None:
        """Send spans. Blocks; None, or why it failed."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        result = self._exporter.export(list(self._made(records)))
        return None if result is SpanExportResult.SUCCESS else "the collector doesn't take them"

    def stop(self) -> None:
        """End the waits between attempts."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _made(self, records: Sequence[SpanRecord]) -> Iterator[ReadableSpan]:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags
        from opentelemetry.trace import SpanKind as Kind

        kinds = {SpanKind.SERVER: Kind.SERVER, SpanKind.INTERNAL: Kind.INTERNAL, SpanKind.CLIENT: Kind.CLIENT}

        def context(trace_id: int, span_id: int) -> SpanContext:
            return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

        for each in records:
            yield ReadableSpan(
                each.name,
                context=context(each.trace_id, each.span_id),
                parent=context(each.trace_id, each.parent) if each.parent else None,
                resource=self._resource,
                attributes=each.attributes,
                links=() if each.link is None else (Link(context(*each.link)),),
                kind=kinds[each.kind],
                status=Status(StatusCode.UNSET) if each.error is None else Status(StatusCode.ERROR, each.error),
                start_time=int(each.began * 1e9),
                end_time=int(max(each.began, each.ended) * 1e9),
                instrumentation_scope=self._scope,
            )
