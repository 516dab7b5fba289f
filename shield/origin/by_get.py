"""The response to HEAD derived from one to GET, for origins that don't support HEAD, or refuse it."""

from __future__ import annotations

import asyncio

from shield.messages import ResponseHead
from shield.origin.response import Response
from shield.rules import ranges
from shield.rules.digests import OF_CONTENT

NO_HEAD = frozenset({403, 405, 501})
"""Responses to HEAD after which GET may still work: rules that allow GET alone, or an unknown method."""

_OF_THE_PART = OF_CONTENT | {b"content-length", b"content-range"}


def answer_to_head(head: ResponseHead) -> Response:
    """The response to HEAD of an object whose first byte, or whole, answered a GET."""
    if head.status == 206:
        stated = ranges.parse_content_range(head.get(b"content-range") or b"")
        length = None if stated is None else stated[2]
        fields = tuple([field for field in head.fields if field[0] not in _OF_THE_PART])
        if length is not None:
            fields = (*fields, (b"content-length", b"%d" % length))
        head = ResponseHead(200, fields, length)
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
