"""The admin API's `POST /store/remove`: removes entries from the whole node, RAM included."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shield.errors import RequestError, StoreError
from shield.rules.written import WrittenError, name_of, prefixes_of

MAX_BYTES = 16 << 20
"""Limit of a request's JSON."""

MAX_PATHS = 1_000_000
BODY_SECONDS = 30.0

_AT_ONCE = 1000  # paths read before others have their turn: json.loads would stop the event loop for a second
_MOST_OTHER = 64 * 1024  # bytes of a wish that names no paths
_begin = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"paths"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*').match
_path = re.compile(r'("[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*")[ \t\r\n]*(?:,[ \t\r\n]*(?=")|(?=\]))').match
_end = re.compile(r"\][ \t\r\n]*\}[ \t\r\n]*\Z").match

Remove = Callable[[Sequence[bytes]], Awaitable[int]]
RemovePrefix = Callable[[tuple[bytes, ...]], Awaitable[None]]


class WishError(ValueError):
    """The request can't be parsed, or is too much or too slow."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


def removal(
    remove: Remove, remove_prefix: RemovePrefix | None = None, *, body_seconds: float = BODY_SECONDS
) -> Route:
    """`{"paths": ["/a", ...]}` or `{"prefix": "/images/"}` is answered with `{"removed": 2}`; of a
    prefix the number isn't known, and `removed` is null.

    A URL may stand for a path; its host is ignored. So may a key as `shield store ls` shows it. The prefix / is of
    everything. `remove` gets what `keys_of` takes, `remove_prefix` the spellings of a prefix. The body must have
    arrived after `body_seconds`.
    """

    async def handle(request: Request) -> Response:
        if not is_json(request):
            return refused(415, "expected application/json")
        removed: int | None
        try:
            paths, prefix = await _wish(await body_of(request, body_seconds))
            if prefix is None:
                removed = await remove(paths)
            elif remove_prefix is None:
                return refused(501, "this node removes no prefixes")
            else:
                await remove_prefix(prefix)
                removed = None  # nobody has counted them
        except WishError as error:
            return refused(error.status, str(error))
        except WrittenError as error:
            return refused(400, str(error))
        except RequestError as error:
            return refused(400, f"a path would be rejected in a request: {error}")
        except StoreError as error:
            return refused(500, str(error))
        return JSONResponse({"removed": removed})

    return Route("/store/remove", handle, methods=["POST"])


def is_json(request: Request) -> bool:
    """Whether a request says that it has JSON: a browser would send other types on behalf of any page, without a
    preflight.
    """
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def body_of(request: Request, seconds: float) -> bytes:
    """The body of a request, which must have arrived after so many seconds. Raises WishError."""
    if int(request.headers.get("content-length", "0")) > MAX_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise WishError(f"the body took more than {seconds:g} s to arrive", 408) from None
    return bytes(body)


def _too_large() -> WishError:
    return WishError(f"expected {MAX_BYTES} bytes at most; ask in several requests", 413)


async def _wish(body: bytes) -> tuple[list[bytes], tuple[bytes, ...] | None]:
    """Names, or a prefix. Raises WishError, WrittenError and RequestError."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise WishError("expected JSON") from None
    begin = _begin(text)
    if begin is not None:
        return await _paths(text, begin.end()), None
    if len(body) > _MOST_OTHER:
        raise _expected()
    try:
        wish = json.loads(text)
    except (ValueError, RecursionError):
        raise WishError("expected JSON") from None
    if isinstance(wish, dict) and len(wish) == 1 and isinstance(prefix := wish.get("prefix"), str):
        return [], prefixes_of(prefix)
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
            raise WishError("expected JSON") from None
        if len(paths) % _AT_ONCE == 0:
            if len(paths) > MAX_PATHS:
                raise WishError(f"expected {MAX_PATHS} paths at most; ask in several requests", 413)
            await asyncio.sleep(0)
    if _end(text, at) is None:
        raise _expected()
    return paths


def _expected() -> WishError:
    return WishError('expected {"paths": ["/a", ...]} or {"prefix": "/images/"}')


def refused(status: int, why: str) -> Response:
    """The response to a request that isn't carried out."""
    headers = {"connection": "close"} if status in (408, 413) else None  # the rest of a body isn't waited for
    return JSONResponse({"error": why}, status, headers)
