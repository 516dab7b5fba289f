"""The admin API's `POST /store/remove`: removes entries from the whole node, RAM included."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation
from shield.admin.problems import ProblemError
from shield.admin.schemas import COUNT, TEXT, TEXTS, either, nullable, record
from shield.rules.tokens import Role
from shield.rules.written import name_of, prefixes_of

MAX_BYTES = 16 << 20
"""Limit of a request's JSON."""

MAX_PATHS = 1_000_000

_AT_ONCE = 1000  # paths read before others have their turn: json.loads would stop the event loop for a second
_MOST_OTHER = 64 * 1024  # bytes of a wish that names no paths
_begin = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"paths"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*').match
_path = re.compile(r'("[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*")[ \t\r\n]*(?:,[ \t\r\n]*(?=")|(?=\]))').match
_end = re.compile(r"\][ \t\r\n]*\}[ \t\r\n]*\Z").match

Remove = Callable[[Sequence[bytes]], Awaitable[int]]
RemovePrefix = Callable[[str], Awaitable[None]]


def removal(remove: Remove, remove_prefix: RemovePrefix | None = None) -> Operation:
    """`{"paths": ["/a", ...]}` or `{"prefix": "/images/"}` is answered with `{"removed": 2}`; of a prefix the number
    isn't known, and `removed` is null.

    A URL may stand for a path; its host is ignored. So may a key as `shield store ls` shows it. The prefix / is of
    everything. `remove` gets what `keys_of` takes, `remove_prefix` the prefix as it was written.
    """

    async def handle(request: Request) -> Response:
        removed: int | None
        paths, prefix = await _wish(request.state.body)
        if prefix is None:
            removed = await remove(paths)
        elif remove_prefix is None:
            raise ProblemError(501, "this node removes no prefixes")
        else:
            await remove_prefix(prefix)
            removed = None  # nobody has counted them
        return JSONResponse({"removed": removed})

    return Operation(
        method="POST",
        path="/store/remove",
        role=Role.PURGE,
        summary="Remove entries by path or prefix",
        handler=handle,
        body=either(record(paths=TEXTS), record(prefix=TEXT)),
        most_bytes=MAX_BYTES,
        answer=record(removed=nullable(COUNT)),
        refusals={500: "They can't be removed from a disk", 501: "The node removes no prefixes"},
    )


async def _wish(body: bytes) -> tuple[list[bytes], str | None]:
    """Names, or a prefix. Raises ProblemError, WrittenError and RequestError."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ProblemError(400, "expected JSON") from None
    begin = _begin(text)
    if begin is not None:
        return await _paths(text, begin.end()), None
    if len(body) > _MOST_OTHER:
        raise _expected()
    try:
        wish = json.loads(text)
    except (ValueError, RecursionError):
        raise ProblemError(400, "expected JSON") from None
    if isinstance(wish, dict) and len(wish) == 1 and isinstance(prefix := wish.get("prefix"), str):
        prefixes_of(prefix)
        return [], prefix
    raise _expected()


async def _paths(text: str, at: int) -> list[bytes]:
    """The strings of an array to the end of the text, which ends with it and an object."""
    paths: list[bytes] = []
    while (found := _path(text, at)) is not None:
        at = found.end()
        try:
            path = found[1][1:-1] if "\\" not in found[1] else json.loads(found[1])
            paths.append(name_of(path))
        except json.JSONDecodeError:
            raise ProblemError(400, "expected JSON") from None
        if len(paths) % _AT_ONCE == 0:
            if len(paths) > MAX_PATHS:
                raise ProblemError(413, f"expected {MAX_PATHS} paths at most; ask in several requests")
            await asyncio.sleep(0)
    if _end(text, at) is None:
        raise _expected()
    return paths


def _expected() -> ProblemError:
    return ProblemError(400, 'expected {"paths": ["/a", ...]} or {"prefix": "/images/"}')
