"""The admin API's `POST /store/remove`: entries removed from the whole node, RAM included."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shield.errors import RequestError, StoreError

MAX_BYTES = 16 << 20
"""Of a wish's JSON."""

_url = re.compile(r"(?i:https?)://[^/?#]*([^#]*)(?:#.*)?", re.DOTALL).fullmatch

Remove = Callable[[Sequence[bytes]], Awaitable[int]]
RemovePrefix = Callable[[bytes], Awaitable[int]]


class _WishError(ValueError):
    """What was asked for can't be read."""


def removal(remove: Remove, remove_prefix: RemovePrefix | None = None) -> Route:
    """`{"paths": ["/a", ...]}` or `{"prefix": "/images/"}` is answered with `{"removed": 2}`.

    Instead of a path a URL will do, whose host isn't looked at. `remove` is given targets as clients send them,
    `remove_prefix` the beginning of key texts: a path, for keys of all spaces, or a space, a colon and a path.
    """

    async def handle(request: Request) -> Response:
        # Of another type a browser would send it here for any page, without asking us first.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _refused(415, "expected application/json")
        try:
            paths, prefix = _wish(await _body(request))
            if prefix is None:
                removed = await remove(paths)
            elif remove_prefix is None:
                return _refused(501, "this node removes no prefixes")
            else:
                removed = await remove_prefix(prefix)
        except _WishError as error:
            return _refused(400, str(error))
        except RequestError as error:
            return _refused(400, f"a path is refused as a request is: {error}")
        except StoreError as error:
            return _refused(500, str(error))
        return JSONResponse({"removed": removed})

    return Route("/store/remove", handle, methods=["POST"])


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise _WishError(f"expected {MAX_BYTES} bytes at most")
    return bytes(body)


def _wish(body: bytes) -> tuple[list[bytes], bytes | None]:
    """Targets, or a prefix. Raises _WishError."""
    try:
        wish = json.loads(body)
    except (ValueError, RecursionError):
        raise _WishError("expected JSON") from None
    if isinstance(wish, dict) and len(wish) == 1:
        paths, prefix = wish.get("paths"), wish.get("prefix")
        if isinstance(paths, list) and all(isinstance(path, str) for path in paths):
            return [_bytes(_without_authority(path)) for path in paths], None
        if isinstance(prefix, str) and prefix.endswith("*"):
            raise _WishError("expected a prefix without * at its end: it stands for all that begins so")
        if isinstance(prefix, str) and (prefix.startswith("/") or ":/" in prefix):
            return [], _bytes(prefix)
    raise _WishError('expected {"paths": ["/a", ...]} or {"prefix": "/images/"}')


def _without_authority(path: str) -> str:
    """What a client sends for a URL, or the path as it is."""
    found = _url(path)
    return path if found is None else (found[1] if found[1][:1] == "/" else f"/{found[1]}")


def _bytes(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise _WishError("expected paths in ASCII, percent-encoded") from None


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)
