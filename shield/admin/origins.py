"""The admin API's `/origins`: their state, and orders of operators."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, wish_of
from shield.admin.problems import ProblemError
from shield.admin.schemas import ANY_OBJECT, FLAG, NUMBER, TEXT, TEXTS, array, either, noted, nullable, record
from shield.errors import StoreError
from shield.origin.drains import Drained
from shield.origin.prober import Probed
from shield.rules.foretold import Takeover
from shield.rules.tokens import Role

_EXPECTED = 'expected {} or {"until": EPOCH_SECONDS} or {"dry_run": true}'
_ORIGIN = {"type": "object", "properties": {"name": TEXT, "state": TEXT}, "required": ["name", "state"]}
_TAKEOVER = record(
    route=TEXT,
    to=nullable(TEXT),
    bytes=NUMBER,
    requests=NUMBER,
    before=nullable(NUMBER),
    after=nullable(NUMBER),
    currency=nullable(TEXT),
)
Standings = Callable[[], Sequence[Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class OriginOrders:
    """The orders that a node takes about its origins."""

    listing: Standings
    drain: Callable[[str, float], Awaitable[Drained]]
    restore: Callable[[str], Awaitable[Drained]]
    probe: Callable[[str], Awaitable[Sequence[Probed]]]
    foretell: Callable[[str], Awaitable[Sequence[Takeover]]]


def origin_routes(orders: OriginOrders) -> list[Operation]:
    """`GET /origins` is answered with `{"origins": [{"name": "fra", "state": "up", ...}]}`.

    `POST /origins/fra/drain`, with `{"until": EPOCH_SECONDS}` or `{}`, and `POST /origins/fra/restore` are answered
    with `{"origin": {...}, "notes": [...]}`.

    `POST /origins/fra/probe` is answered with `{"origin": {...}, "probes": [{"path": "/a", "result": "clean"}]}`.
    """

    async def show(request: Request) -> Response:
        return JSONResponse({"origins": list(orders.listing())})

    async def drain(request: Request) -> Response:
        name, wish = _name(request, orders.listing()), wish_of(request)
        if isinstance(wish, dict) and wish.keys() == {"dry_run"} and wish["dry_run"] is True:
            try:
                taken = await orders.foretell(name)
            except StoreError as error:
                raise ProblemError(409, str(error)) from None
            return JSONResponse({"origin": _of(name, orders.listing()), "hourly": [each.plain() for each in taken]})
        return _told(name, await orders.drain(name, _until(wish)), orders.listing())

    async def restore(request: Request) -> Response:
        name = _name(request, orders.listing())
        return _told(name, await orders.restore(name), orders.listing())

    async def probe(request: Request) -> Response:
        name = _name(request, orders.listing())
        probes = [asdict(each) for each in await orders.probe(name)]
        if not probes:
            raise ProblemError(409, f"no object is known to probe {name} with: name one in probes.canaries")
        return JSONResponse({"origin": _of(name, orders.listing()), "probes": probes})

    return [
        Operation(
            method="GET",
            path="/origins",
            role=Role.READ,
            summary="All origins, and how each is treated",
            handler=show,
            answer=record(origins=array(_ORIGIN)),
        ),
        Operation(
            method="POST",
            path="/origins/{name}/probe",
            role=Role.OPERATE,
            summary="Probe an origin now",
            handler=probe,
            answer=record(origin=_ORIGIN, probes=array(ANY_OBJECT)),
            refusals={404: "No such origin", 409: "No object is known to probe it with"},
        ),
        Operation(
            method="POST",
            path="/origins/{name}/drain",
            role=Role.OPERATE,
            summary="Keep fetches away from an origin",
            description="With `dry_run`: the bytes that others would send in an hour instead, and both prices.",
            handler=drain,
            body=record(
                optional={
                    "until": noted(nullable(NUMBER), "Epoch seconds; if omitted: until it is restored"),
                    "dry_run": FLAG,
                }
            ),
            body_needed=False,
            answer=either(record(origin=_ORIGIN, notes=TEXTS), record(origin=_ORIGIN, hourly=array(_TAKEOVER))),
            refusals={404: "No such origin", 409: "It can't be spared, the time is over, or nothing is known of it"},
        ),
        Operation(
            method="POST",
            path="/origins/{name}/restore",
            role=Role.OPERATE,
            summary="End the drain of an origin",
            handler=restore,
            answer=record(origin=_ORIGIN, notes=TEXTS),
            refusals={404: "No such origin", 409: "It can't be carried out"},
        ),
    ]


def _name(request: Request, listing: Sequence[Mapping[str, object]]) -> str:
    """The name of an origin in the path. Raises ProblemError."""
    names, name = [str(each["name"]) for each in listing], str(request.path_params["name"])
    if name not in names:
        raise ProblemError(404, f"no origin {name}; there are {', '.join(names)}")
    return name


def _until(wish: Any) -> float:
    """The end of a drain. Raises ProblemError."""
    if wish is None:
        return math.inf
    if not isinstance(wish, dict) or not wish.keys() <= {"until"}:
        raise ProblemError(400, _EXPECTED)
    until = wish.get("until")
    if until is None:
        return math.inf
    try:
        is_time = isinstance(until, int | float) and not isinstance(until, bool) and math.isfinite(until)
    except OverflowError:
        is_time = False
    if not is_time:
        raise ProblemError(400, _EXPECTED)
    return float(until)


def _told(name: str, done: Drained, listing: Sequence[Mapping[str, object]]) -> Response:
    if done.problems:
        raise ProblemError(409, *done.problems)
    return JSONResponse({"origin": _of(name, listing), "notes": list(done.notes)})


def _of(name: str, listing: Sequence[Mapping[str, object]]) -> Mapping[str, object] | None:
    return next((each for each in listing if each["name"] == name), None)
