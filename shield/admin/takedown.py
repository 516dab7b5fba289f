"""The admin API's `POST /store/takedown`: removes objects that only the primary may bring back, or ends that."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shield.admin.removal import BODY_SECONDS, WishError, body_of, is_json, refused
from shield.errors import RequestError, StoreError
from shield.rules.written import name_of

TakeDown = Callable[[Sequence[bytes]], Awaitable[tuple[int, bool]]]
Lift = Callable[[Sequence[bytes]], Awaitable[int]]

_EXPECTED = 'expected {"paths": ["/a", ...]} or {"lift": ["/a", ...]}'


def takedown(take_down: TakeDown, lift: Lift, *, body_seconds: float = BODY_SECONDS) -> Route:
    """`{"paths": ["/a", ...]}` is answered with `{"removed": 1, "kept": true}`, `{"lift": ["/a"]}` with
    `{"lifted": 1}`. URLs and keys may stand for paths. `kept` false: it holds until the node restarts.
    """

    async def handle(request: Request) -> Response:
        if not is_json(request):
            return refused(415, "expected application/json")
        try:
            word, names = _wish(await body_of(request, body_seconds))
            if word == "lift":
                return JSONResponse({"lifted": await lift(names)})
            removed, is_kept = await take_down(names)
        except WishError as error:
            return refused(error.status, str(error))
        except RequestError as error:
            return refused(400, f"a path would be rejected in a request: {error}")
        except StoreError as error:
            return refused(500, str(error))
        return JSONResponse({"removed": removed, "kept": is_kept})

    return Route("/store/takedown", handle, methods=["POST"])


def _wish(body: bytes) -> tuple[str, list[bytes]]:
    """The wish's word and its names. Raises WishError and RequestError."""
    try:
        wish = json.loads(body)
    except (ValueError, RecursionError):
        raise WishError("expected JSON") from None
    if not isinstance(wish, dict) or len(wish) != 1:
        raise WishError(_EXPECTED)
    (word, names), *_ = wish.items()
    if word not in ("paths", "lift") or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise WishError(_EXPECTED)
    return word, [name_of(name) for name in names]
