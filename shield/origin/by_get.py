"""The response to HEAD derived from one to GET, for origins that don't support HEAD, or refuse it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from shield.errors import Fault, OriginError
from shield.messages import ResponseHead
from shield.origin.response import Response
from shield.origin.want import Want
from shield.rules import ranges
from shield.rules.ranges import Span

NO_HEAD = frozenset({403, 405, 501})
"""Responses to HEAD after which GET may still work: rules that allow GET alone, or an unknown method."""


async def ask_by_get(
    want: Want, refused: Response, ask: Callable[[Want], Awaitable[Response]], *, name: str, signed: bool
) -> Response:
    """The response to HEAD after it was refused, by `ask`ing with GET: the object's head, or the error with its body.

    `name` and `signed` are the origin's.
    """
    probe = Want(b"GET", want.path, want.query, span=Span(0, 1), forwarded=want.forwarded, request=want.request)
    probe.trace = want.trace
    response = await ask(probe)
    if response.head.status == 416:  # an empty object doesn't have even one byte
        response.close()
        response = await ask(probe.whole())
    if response.head.status not in (200, 206):
        useless = refused if signed else response  # a plain server's status says it all
        useless.close()
        return response if signed else refused
    refused.close()
    response.close()
    if refused.head.status not in NO_HEAD:
        detail = f"{refused.head.status} to HEAD of what GET has"
        raise OriginError(name, Fault.SERVER, detail, status=502)
    return answer_to_head(response.head)


def answer_to_head(head: ResponseHead) -> Response:
    """The response to HEAD of an object whose first byte, or whole, answered a GET."""
    if head.status == 206:
        head = ranges.head_of_whole(head)
        if head.length is not None:
            head = replace(head, fields=(*head.fields, (b"content-length", b"%d" % head.length)))
    response = Response(_Nowhere(), 0)
    response.arrive(head)
    response.finish(None)
    return response


class _Nowhere:
    """The connection of a response without a body."""

    def hold(self) -> None: ...

    def proceed(self) -> None: ...

    def abandon(self) -> None: ...

    def unread(self) -> int:
        return 0
