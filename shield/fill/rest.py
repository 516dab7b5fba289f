"""The rest of a body that has broken off or is late: fetched by Range from the origin that it came from, or from
another one that is proven to have the same bytes. Readers only notice a pause.

Used by fills of whole responses; `runs` continue slices in the same way. The body of another node of the cluster
breaks off if that node dies; while it lives, it looks for the rest itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from shield.errors import Fault, OriginError
from shield.fill.buffer import FillBuffer
from shield.fill.means import Means
from shield.fill.pacing import Pacing
from shield.fill.settlement import Question
from shield.fill.sliced import SlicedRegistry
from shield.fill.versions import version_of, whole_head
from shield.origin.response import After, Sink
from shield.origin.want import Fetched, Want
from shield.rules import ranges
from shield.rules.conditional import is_strong, is_tag
from shield.rules.persistence import Breaks, continues_at
from shield.rules.ranges import Span

log = logging.getLogger("shield.fill")


class Incomplete(Sink, Protocol):
    """A fill whose body isn't complete."""

    question: Question

    def rest(self) -> Rest | None:
        """The rest of its body; None if that can't be fetched elsewhere."""

    def keep_no_more(self) -> None:
        """The rest isn't proven to be of the same version: it is for the readers, and not to be stored."""

    def fail(self, failure: OriginError) -> None:
        """There is no way to get it."""


@dataclass(slots=True, eq=False)
class Arriving:
    """The body of a fill, from `start` to `stop`; `fetched` is the response that it comes from at first."""

    fetched: Fetched
    buffer: FillBuffer
    pacing: Pacing
    start: int
    stop: int

    @property
    def position(self) -> int:
        """Absolute offset of the next byte."""
        return self.start + self.buffer.received

    async def held(self, start: int, stop: int) -> bytes | None:
        """Bytes received before; None if they aren't held."""
        return self.buffer.span(start - self.start, stop - self.start) if start >= self.start else None


class Rest:
    """The rest of one fill's body, up to `stop`. To be closed with the fill, which it refers to."""

    __slots__ = (
        "_body",
        "_breaks",
        "_broke",
        "_fill",
        "_has_asked",
        "_is_of_node",
        "_means",
        "_origin",
        "_question",
        "_registry",
        "_task",
        "_version",
        "_want",
    )
    __deletable__ = ("_fill",)  # said for mypyc

    def __init__(
        self, fill: Incomplete, body: Arriving, question: Question, means: Means, registry: SlicedRegistry
    ) -> None:
        fetched = body.fetched
        want, head = question.want, whole_head(fetched.response.head)
        self._fill = fill
        self._body = body
        self._question = question
        self._means = means
        self._registry = registry
        self._is_of_node = fetched.by_node
        # Another node's ETag may be that of any of its origins.
        self._origin = "" if fetched.by_node else fetched.origin
        self._version = version_of(question.resource, self._origin, head)
        self._version.held, self._version.of_equals = body.held, fetched.by_node
        means.versions.recall(question.resource, self._version)
        self._want = replace(
            want.whole(),
            etag=head.get(b"etag"),
            length=head.length,
            version_of=self._origin or None,
            alone=True,
            inform=None,
            sent=None,
        )
        self._broke: OriginError | None = None  # since nothing comes any more
        self._breaks = Breaks()
        self._has_asked = False  # other origins, since it was late
        self._task: asyncio.Task[None] | None = None

    def broke_off(self, error: OriginError) -> bool:
        """Nothing comes any more; False if there is no way to continue. If none is found later, the fill fails."""
        if error.fault is Fault.DAMAGED and self._body.position != self._body.start:
            return False  # wrong bytes may have been passed on
        names = continues_at(error.fault, self._question.resource.tried, self._origin)
        if not names or not self._breaks.may_continue(self._body.position):
            return False
        self._broke = error
        if self._task is None:
            self._begin(names)
        return True

    # as one of the bodies under way (`lookout.Watched`)

    @property
    def sender(self) -> str:
        return self._origin

    @property
    def place(self) -> int:
        return self._body.position

    @property
    def left(self) -> int:
        return self._body.stop - self._body.position

    @property
    def is_held(self) -> bool:
        is_asking = self._task is not None or self._broke is not None
        return is_asking or self._is_of_node or self._body.pacing.is_held

    def late(self) -> None:
        others = [name for name in self._question.resource.tried if name != self._origin]
        if others and not self._has_asked and self._task is None and self._broke is None:
            self._has_asked = True
            self._begin(others)

    def close(self) -> None:
        """The fill is over. It must be freed without the garbage collector, so that it isn't referred to any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        del self._fill

    def _begin(self, names: Sequence[str]) -> None:
        # What is merely late may still come, and can then be stored.
        version = self._version.sharing() if self._broke is None else self._version
        want = replace(self._want, span=Span(self._body.position, self._body.stop), version=version)
        want.resumes = None if self._broke is None else self._origin or None
        self._task = self._means.loop.create_task(self._fetch(names, want))

    async def _fetch(self, names: Sequence[str], want: Want) -> None:
        question, result = self._question, None
        try:
            result = await self._means.source.fetch(names, want)
            self._task = None
            if isinstance(result, Fetched):
                self._take(result, want)
            elif self._broke is not None:
                self._take_none(want)
        except Exception as error:  # a bug of ours must release the readers
            log.exception("fill of %s failed", question.resource.label)
            self._task = None
            if isinstance(result, Fetched):
                result.response.close()
            detail = f"internal error: {type(error).__name__}"
            cut_off(self._fill, OriginError(self._origin, Fault.CANCELLED, detail), self._body.buffer.received)

    def _take(self, fetched: Fetched, want: Want) -> None:
        assert want.span is not None
        self._origin, broke, self._broke, self._has_asked = fetched.origin, self._broke, None, False
        said = "late" if broke is None else str(broke)
        if broke is not None and self._is_of_node:
            said = f"node {broke.origin}: {broke.fault.value}: {broke.detail}"
        self._is_of_node = False
        position, label = self._body.position, self._question.resource.label
        log.warning(
            "%s: body of %s continues at byte %d from origin %s",
            said,
            label,
            position,
            fetched.origin,
        )
        passed = position - want.span.start
        if not self._version.is_proven_at(fetched.origin):
            self._fill.keep_no_more()
            # Other workers that read it keep nothing either: what they have begun to fetch is older than a removal.
            self._means.store.purge([self._question.resource.named], _nothing)
        else:
            self._means.versions.learned(self._question.resource, self._version)
        self._body.pacing.replace(fetched.response)
        self._registry.count_continued(fetched.origin)
        fetched.response.start(After(self._fill, passed) if passed else self._fill)

    def _take_none(self, want: Want) -> None:
        """No origin has given the rest."""
        assert self._broke is not None
        if want.version is not self._version:  # it was only late when these were asked
            names = continues_at(self._broke.fault, self._question.resource.tried, self._origin)
            self._begin(names)
            return
        cut_off(self._fill, self._broke, self._body.buffer.received)


def _nothing() -> None:
    """Nothing waits for the removal."""


def broke_off(fill: Incomplete, error: OriginError, received: int) -> None:
    """Nothing comes any more of a fill's body, after so many bytes: continue it if there is a way."""
    rest = fill.rest()
    if rest is None or not rest.broke_off(error):
        cut_off(fill, error, received)


def cut_off(fill: Incomplete, error: OriginError, received: int) -> None:
    """There is no way to get the rest."""
    log.warning("%s; body of %s cut off after %d bytes", error, fill.question.resource.label, received)
    fill.fail(error)


def rest_of(
    fill: Incomplete, body: Arriving, question: Question, means: Means, registry: SlicedRegistry
) -> Rest | None:
    """The rest of a body; None if it can't be fetched by Range: it isn't that of an object of known
    length with a strong ETag, or the server has no ranges of it. Another worker of this node does it by itself.
    """
    fetched, resource = body.fetched, question.resource
    head = fetched.response.head
    etag, is_of_worker = head.get(b"etag"), fetched.by_peer and not fetched.by_node
    if is_of_worker or question.want.method != b"GET" or etag is None or whole_head(head).length is None:
        return None
    origins = resource.tried if fetched.by_node else (fetched.origin,)
    is_storage = all(resource.route.fields.of(name, by_peer=False).storage for name in origins)
    if not is_strong(etag) or not is_tag(etag) or not (is_storage or ranges.has_parts(head.status, head.fields)):
        return None
    return Rest(fill, body, question, means, registry)
