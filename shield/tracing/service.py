"""Tracing as a service of the node: on and off by the settings, while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shield.fill.means import Means
from shield.observe.accounting import Accounting
from shield.tracing.export import SpanExport
from shield.tracing.tracer import Tracer, TracingStatistics, TracingTerms


class Tracing:
    """A service of the node. Its thread begins when it is opened, in the worker's own process."""

    name = "tracing"

    def __init__(
        self,
        terms: TracingTerms | None,
        means: Means,
        accounting: Accounting,
        *,
        node: str,
        worker: int,
        clock: Callable[[], float],
    ) -> None:
        self.tracer = Tracer(clock=clock)
        self._wanted = terms
        self._means = means
        self._accounting = accounting
        self._node = node
        self._worker = worker
        self._clock = clock
        self._export: SpanExport | None = None
        self._ending: set[asyncio.Future[None]] = set()
        self._is_open = False

    async def open(self) -> None:
        self._is_open = True
        self._begin()

    def use(self, terms: TracingTerms | None) -> None:
        """Trace by these from now on; None: no more."""
        if terms == self._wanted:
            return
        self._wanted = terms
        if self._is_open:
            self._end()
            self._begin()

    def tick(self) -> None:
        """Does nothing: a thread does."""

    def flush(self) -> None:
        """Send all waiting spans now."""
        if self._export is not None:
            self._export.wake()

    async def close(self) -> None:
        """Send all waiting spans, for some seconds at most."""
        self._is_open = False
        self._end()
        if self._ending:
            await asyncio.wait(self._ending)

    def statistics(self) -> TracingStatistics:
        return self.tracer.statistics()

    def _begin(self) -> None:
        terms, tracer = self._wanted, self.tracer
        if terms is None:
            return
        before = tracer.statistics()
        export = SpanExport(terms, tracer.queue, node=self._node, worker=self._worker, clock=self._clock)
        export.sent, export.failed = before.sent, before.failed
        tracer.terms, tracer.sink, self._export = terms, export, export
        self._means.traces = tracer
        self._accounting.add(tracer.observe, hits=terms.hits)

    def _end(self) -> None:
        export, self._export = self._export, None
        if export is None:
            return
        self._means.traces = None
        self._accounting.remove(self.tracer.observe)
        self.tracer.terms = None
        ending = asyncio.get_running_loop().run_in_executor(None, export.close)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
