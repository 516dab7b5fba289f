"""The admin API's `POST /store/takedown`: removes objects that only the primary may bring back, or ends that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, wish_of
from shield.admin.problems import ProblemError
from shield.admin.removal import MAX_BYTES
from shield.admin.schemas import COUNT, FLAG, TEXTS, either, record
from shield.rules.tokens import Role
from shield.rules.written import name_of

TakeDown = Callable[[Sequence[bytes]], Awaitable[tuple[int, bool]]]
Lift = Callable[[Sequence[bytes]], Awaitable[int]]

_EXPECTED = 'expected {"paths": ["/a", ...]} or {"lift": ["/a", ...]}'


def takedown(take_down: TakeDown, lift: Lift) -> Operation:
    """`{"paths": ["/a", ...]}` is answered with `{"removed": 1, "kept": true}`, `{"lift": ["/a"]}` with
    `{"lifted": 1}`. URLs and keys may stand for paths. `kept` false: it holds until the node restarts.
    """

    async def handle(request: Request) -> Response:
        word, names = _read(wish_of(request))
        if word == "lift":
            return JSONResponse({"lifted": await lift(names)})
        removed, is_kept = await take_down(names)
        return JSONResponse({"removed": removed, "kept": is_kept})

    return Operation(
        method="POST",
        path="/store/takedown",
        role=Role.PURGE,
        summary="Remove objects that only the primary may bring back, or end that",
        handler=handle,
        body=either(record(paths=TEXTS), record(lift=TEXTS)),
        most_bytes=MAX_BYTES,
        answer=either(record(removed=COUNT, kept=FLAG), record(lifted=COUNT)),
        refusals={500: "It can't be written to a disk"},
    )


def _read(wish: Any) -> tuple[str, list[bytes]]:
    """The wish's word and its names. Raises ProblemError and RequestError."""
    if not isinstance(wish, dict) or len(wish) != 1:
        raise ProblemError(400, _EXPECTED)
    (word, names), *_ = wish.items()
    if word not in ("paths", "lift") or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ProblemError(400, _EXPECTED)
    return word, [name_of(name) for name in names]
