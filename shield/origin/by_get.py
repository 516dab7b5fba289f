"""The response to HEAD derived from one to GET, for origins that don't support HEAD, or refuse it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from shield.messages import ResponseHead
from shield.origin.response import Response
from shield.rules import ranges

NO_HEAD = frozenset({403, 405, 501})
"""Responses to HEAD after which GET may still work: rules that allow GET alone, or an unknown method."""


def answer_to_head(head: ResponseHead) -> Response:
    """The response to HEAD of an object whose first byte, or whole, answered a GET."""
    if head.status == 206:
        head = ranges.head_of_whole(head)
        if head.length is not None:
            head = replace(head, fields=(*head.fields, (b"content-length", b"%d" % head.length)))
    response = Response(_Nowhere(), asyncio.get_running_loop().create_future(), 0)
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
