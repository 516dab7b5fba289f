"""The admin API's `POST /purge`: an order to purge, answered with a receipt; and `GET /purges`, the log of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, QueryParameter
from shield.admin.problems import ProblemError
from shield.admin.schemas import COUNT, FLAG, NUMBER, TEXT, TEXTS, Schema, array, either, noted, nullable, record
from shield.purge_forecast import PurgeForecast
from shield.purge_orders import OrderConflictError
from shield.rules.purge_orders import (
    LONGEST_ID,
    MOST_BYTES,
    MOST_GLOBS,
    MOST_PATHS,
    MOST_PREFIXES,
    MOST_TAGS,
    OrderError,
    PurgeOrder,
    read_order,
)
from shield.rules.purging import TooManyGlobsError
from shield.rules.tokens import LOCAL, Role
from shield.spread.everywhere import Everywhere

Forecast = Callable[[PurgeOrder], Awaitable[PurgeForecast]]

MOST_SHOWN = 1000
"""Purges in one answer of `GET /purges`."""

_USUAL_SHOWN = 100


def _texts(most: int, description: str) -> Schema:
    return noted(either(TEXT, {**TEXTS, "maxItems": most}), description)


_ORDER = noted(
    record(
        optional={
            "paths": _texts(MOST_PATHS, "Paths, URLs (their host doesn't count), or keys as `shield store ls` shows"),
            "tags": _texts(MOST_TAGS, "Tags of responses: Surrogate-Key, Cache-Tag, Cache-Groups"),
            "prefixes": _texts(MOST_PREFIXES, "Beginnings of paths, or of keys with their space"),
            "globs": _texts(MOST_GLOBS, "Patterns of whole paths or keys; * stands for any characters, slashes too"),
            "all": noted(FLAG, "Everything"),
            "soft": noted(FLAG, "Entries become stale at once, and keep their grace"),
            "takedown": noted(FLAG, "Only the primary may bring the objects back; for paths alone"),
            "dry_run": noted(FLAG, "Nothing is purged: the answer says what would be"),
            "id": noted({**TEXT, "maxLength": LONGEST_ID}, "An order is carried out once for each id"),
        }
    ),
    "Some of paths, tags, prefixes and globs, or all",
)

_RECEIPT = record(
    id=TEXT,
    sequence=noted(COUNT, "Its place among the purges of the node"),
    at=noted(NUMBER, "Epoch seconds"),
    who=noted(TEXT, "The name of the token, the address of a PURGE request, or the node itself"),
    soft=FLAG,
    takedown=FLAG,
    paths=COUNT,
    tags=COUNT,
    prefixes=COUNT,
    globs=COUNT,
    all=FLAG,
    origins=noted(COUNT, "Origins whose bytes the node itself removed, since they turned out to be corrupt"),
    examples=noted(TEXTS, "The first things that were named"),
    removed=noted(nullable(COUNT), "Entries that were stored under the paths; null: not counted"),
    completed=noted(FLAG, "False: it is being carried out, or was interrupted and will be at the next start"),
    durable=noted(FLAG, "Whether it holds over restarts"),
    workers=noted(COUNT, "Workers of the node, in all of which it holds"),
    applied=noted(TEXTS, "Nodes in which it holds"),
    missing=noted(TEXTS, "Nodes in which it doesn't hold yet; it will as soon as they can be reached"),
    edge=noted(
        {
            "type": "object",
            "additionalProperties": record(
                state=noted(TEXT, "queued, sent (and sent once more later), done, failed, refused or lost"),
                notes=noted(TEXTS, "What is purged there that wasn't named, or isn't though it was"),
            ),
        },
        "What becomes of it at CDNs, by the names in purge.edges",
    ),
)

_PART = record(entries=COUNT, bytes=COUNT, optional={"workers": COUNT, "of_workers": COUNT})
_FORECAST = record(
    dry_run=FLAG,
    entries=noted(COUNT, "Entries that would be purged"),
    bytes=noted(COUNT, "Bytes of their bodies"),
    disk=record(
        entries=COUNT,
        bytes=COUNT,
        estimated=noted(FLAG, "There was time to read the headers of a part of the records only"),
        scanned=noted(NUMBER, "That part"),
    ),
    memory_alone=noted(_PART, "Entries that only the RAM of the worker that answers has"),
    origins=noted(
        {
            "type": "object",
            "additionalProperties": record(
                requests=COUNT,
                bytes=COUNT,
                money=nullable(NUMBER),
                currency=nullable(TEXT),
                limit=noted(nullable(COUNT), "Fetches at a time"),
                seconds=noted(nullable(NUMBER), "That all of them take at that limit"),
            ),
        },
        "What fetching all of it again asks of each origin that it came from",
    ),
    advice=TEXTS,
)


def purge_routes(orders: Everywhere, forecast: Forecast) -> list[Operation]:
    """An order is answered with its receipt; the same order under the same id with the first receipt. With `dry_run`
    nothing is purged.
    """

    async def carry_out(request: Request) -> Response:
        try:
            order = read_order(request.state.body, orders.new_id)
            request.state.noted = {"id": order.id, "order": str(order), "dry_run": order.is_trial}
            if order.is_trial:
                return JSONResponse({"dry_run": True, **(await forecast(order)).shown()})
            receipt = await orders.carry_out(order, request.state.who or LOCAL)
            return JSONResponse(receipt.shown(), receipt.status)
        except OrderError as error:
            raise ProblemError(400, str(error)) from None
        except (OrderConflictError, TooManyGlobsError) as error:
            raise ProblemError(409, str(error)) from None

    async def show(request: Request) -> Response:
        most = request.query_params.get("most", str(_USUAL_SHOWN))
        if not most.isascii() or not most.isdecimal() or not 0 < int(most[:6]) <= MOST_SHOWN:
            raise ProblemError(400, f"most: expected a number from 1 to {MOST_SHOWN}")
        return JSONResponse({"purges": [receipt.shown() for receipt in await orders.history(int(most))]})

    return [
        Operation(
            method="POST",
            path="/purge",
            role=Role.PURGE,
            summary="Purge by path, tag, prefix or glob, or everything",
            description="When the answer arrives, no worker serves purged entries, and no fill that began earlier "
            "brings them back: with 200 at all nodes of the cluster, with 202 at those in `applied`.",
            handler=carry_out,
            body=_ORDER,
            most_bytes=MOST_BYTES,
            answer=either(_RECEIPT, _FORECAST),
            refusals={
                409: "Another order has this id, or too many globs are in force",
                500: "It can't be kept on a disk",
            },
        ),
        Operation(
            method="GET",
            path="/purges",
            role=Role.READ,
            summary="The log of purges, the newest first",
            handler=show,
            query=[
                QueryParameter(
                    "most",
                    f"How many at most; {_USUAL_SHOWN} if it is left out",
                    {"type": "integer", "minimum": 1, "maximum": MOST_SHOWN},
                )
            ],
            answer=record(purges=array(_RECEIPT)),
            refusals={400: "The number isn't as expected", 500: "The log can't be read"},
        ),
    ]
