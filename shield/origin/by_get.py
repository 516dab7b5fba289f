"""What HEAD would have said, read from an answer to GET: for origins that know no HEAD, or refuse it."""

from __future__ import annotations

import asyncio

from shield.messages import ResponseHead
from shield.origin.response import Response
from shield.rules import ranges
from shield.rules.digests import OF_CONTENT

NO_HEAD = frozenset({403, 405, 501})
"""Answers to HEAD after which GET may work all the same: rules that name GET alone, or no such method."""

_OF_THE_PART = OF_CONTENT | {b"content-length", b"content-range"}


def answer_to_head(head: ResponseHead) -> Response:
    """The answer to HEAD of the object whose first byte, or whole, GET was answered with."""
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
    """The connection of an answer that has no body."""

    def hold(self) -> None: ...

    def proceed(self) -> None: ...

    def abandon(self) -> None: ...
