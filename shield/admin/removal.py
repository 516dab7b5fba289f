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

MAX_BYTES = 16 << 20
"""Limit of a request's JSON."""

MAX_PATHS = 1_000_000
BODY_SECONDS = 30.0

_AT_ONCE = 1000  # paths read before others have their turn: json.loads would stop the event loop for a second
_MOST_OTHER = 64 * 1024  # bytes of a wish that names no paths
_begin = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"paths"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*').match
_path = re.compile(r'("[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*")[ \t\r\n]*(?:,[ \t\r\n]*(?=")|(?=\]))').match
_end = re.compile(r"\][ \t\r\n]*\}[ \t\r\n]*\Z").match

_url = re.compile(r"(?i:https?)://[^/?#]*([^#]*)(?:#.*)?", re.DOTALL).fullmatch

Remove = Callable[[Sequence[bytes]], Awaitable[int]]
RemovePrefix = Callable[[bytes], Awaitable[int]]


class _WishError(ValueError):
    """The request can't be parsed, or is too much or too slow."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


def removal(
    remove: Remove, remove_prefix: RemovePrefix | None = None, *, body_seconds: float = BODY_SECONDS
) -> Route:
    """`{"paths": ["/a", ...]}` or `{"prefix": "/images/"}` is answered with `{"removed": 2}`.

    A URL may stand for a path; its host is ignored. `remove` gets targets as clients send them, `remove_prefix` the
    beginning of key texts: a path, for keys of all spaces, or a space, a colon and a path. The body must have arrived
    after `body_seconds`.
    """

    async def handle(request: Request) -> Response:
        # A browser would send other types here on behalf of any page, without a preflight.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _refused(415, "expected application/json")
        try:
            paths, prefix = await _wish(await _body(request, body_seconds))
            if prefix is None:
                removed = await remove(paths)
            elif remove_prefix is None:
                return _refused(501, "this node removes no prefixes")
            else:
                removed = await remove_prefix(prefix)
        except _WishError as error:
            return _refused(error.status, str(error))
        except RequestError as error:
            return _refused(400, f"a path would be rejected in a request: {error}")
        except StoreError as error:
            return _refused(500, str(error))
        return JSONResponse({"removed": removed})

    return Route("/store/remove", handle, methods=["POST"])


async def _body(request: Request, seconds: float) -> bytes:
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
        raise _WishError(f"the body took more than {seconds:g} s to arrive", 408) from None
    return bytes(body)


def _too_large() -> _WishError:
    return _WishError(f"expected {MAX_BYTES} bytes at most; ask in several requests", 413)


async def _wish(body: bytes) -> tuple[list[bytes], bytes | None]:
    """Targets, or a prefix. Raises _WishError."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise _WishError("expected JSON") from None
    begin = _begin(text)
    if begin is not None:
        return await _paths(text, begin.end()), None
    if len(body) > _MOST_OTHER:
        raise _expected()
    try:
        wish = json.loads(text)
    except (ValueError, RecursionError):
        raise _WishError("expected JSON") from None
    if isinstance(wish, dict) and len(wish) == 1:
        prefix = wish.get("prefix")
        if isinstance(prefix, str) and prefix.endswith("*"):
            raise _WishError("expected a prefix without * at its end: it stands for all that begins so")
        if isinstance(prefix, str) and (prefix.startswith("/") or ":/" in prefix):
            return [], _bytes(prefix)
    raise _expected()


async def _paths(text: str, at: int) -> list[bytes]:
    """The strings of an array to the end of the text, which ends with it and an object."""
    paths: list[bytes] = []
    while (found := _path(text, at)) is not None:
        at = found.end()
        try:
            path = found[1][1:-1] if "\\" not in found[1] else json.loads(found[1])
            paths.append(_bytes(path if path[:1] == "/" else _without_authority(path)))
        except json.JSONDecodeError:
            raise _WishError("expected JSON") from None
        if len(paths) % _AT_ONCE == 0:
            if len(paths) > MAX_PATHS:
                raise _WishError(f"expected {MAX_PATHS} paths at most; ask in several requests", 413)
            await asyncio.sleep(0)
    if _end(text, at) is None:
        raise _expected()
    return paths


def _expected() -> _WishError:
    return _WishError('expected {"paths": ["/a", ...]} or {"prefix": "/images/"}')


def _without_authority(path: str) -> str:
    """The target that a client sends for a URL, or the path unchanged."""
    found = _url(path)
    return path if found is None else (found[1] if found[1][:1] == "/" else f"/{found[1]}")


def _bytes(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise _WishError("expected paths in ASCII, percent-encoded") from None


def _refused(status: int, why: str) -> Response:
    headers = {"connection": "close"} if status in (408, 413) else None  # the rest of a body isn't waited for
    return JSONResponse({"error": why}, status, headers)
