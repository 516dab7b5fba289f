"""The admin API's `/suspects`: keys, paths and clients that make origins give more than clients get."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation
from shield.admin.schemas import NUMBER, TEXT, array, noted, one_of, record
from shield.rules.spikes import SpikeSights
from shield.rules.suspects import FLAVOURS, SuspectKind
from shield.rules.tokens import Role

_SUSPECT = record(
    kind=one_of(*[kind.value for kind in SuspectKind]),
    name=noted(TEXT, "the key, path or client"),
    text=TEXT,
    bytes=noted(NUMBER, "asked of origins, or missed, in these seconds"),
    hourly=noted(NUMBER, "their price per hour, by the prices of origins"),
    remedy=TEXT,
)


def suspecting(sights: Callable[[], Awaitable[SpikeSights]]) -> Operation:
    """`GET /suspects` is answered with `{"seconds": 300, "suspects": [{"kind": "crawler", ...}], ...}`."""

    async def show(request: Request) -> Response:
        seen = await sights()
        tallies = seen.tallies
        suspects = [
            {
                "kind": each.kind.value,
                "name": each.name,
                "text": each.text,
                "bytes": each.bytes,
                "hourly": round(each.hourly, 6),
                "remedy": each.remedy,
            }
            for each in seen.suspects
        ]
        missed = {name: tallies.flavours[name] for name in FLAVOURS}
        return JSONResponse({"seconds": tallies.seconds, "suspects": suspects, "missed": missed})

    return Operation(
        method="GET",
        path="/suspects",
        role=Role.OPERATE,
        summary="Keys, paths and clients that make origins give far more than clients get",
        description="Of the last five minutes, of all workers. Names are those of clients' addresses and URLs.",
        handler=show,
        answer=record(
            seconds=NUMBER,
            suspects=array(_SUSPECT),
            missed=noted(
                record(**dict.fromkeys(FLAVOURS, NUMBER)), "missed requests, and those with a trait among them"
            ),
        ),
    )
