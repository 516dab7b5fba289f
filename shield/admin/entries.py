"""The admin API's `GET /entries`: the entries under a URL; and `POST /sizes`: the sizes of objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, QueryParameter, wish_of
from shield.admin.problems import ProblemError
from shield.admin.schemas import COUNT, NUMBER, TEXT, TEXTS, array, noted, nullable, record
from shield.errors import RequestError
from shield.regime import InForce
from shield.rules.key import CacheKey
from shield.rules.tokens import Role
from shield.rules.written import target_of
from shield.store.contents import MOST_SIZES, AskOtherWorkers, Contents

_ENTRY = record(
    key=TEXT,
    tier=noted(TEXT, "memory, writing (to a disk), or the name of a disk tier"),
    worker=nullable(COUNT),
    directory=nullable(TEXT),
    status=COUNT,
    bytes=COUNT,
    age=NUMBER,
    ttl=noted(NUMBER, "Seconds for which it is fresh; negative: stale"),
    grace=NUMBER,
    error_grace=NUMBER,
    etag=nullable(TEXT),
    tags=TEXTS,
    origin=noted(nullable(TEXT), "Where it was fetched; null: not known any more"),
)


_SIZES = {"type": "object", "additionalProperties": COUNT}


def entry_routes(in_force: InForce, contents: Contents, others: AskOtherWorkers) -> tuple[Operation, Operation]:
    """All routes."""
    return _showing_entries(in_force, contents, others), _telling_sizes(in_force, contents, others)


def _telling_sizes(in_force: InForce, contents: Contents, others: AskOtherWorkers) -> Operation:
    """`{"urls": ["/a", "/b"]}` is answered with `{"sizes": {"/a": 1000}}`: /b isn't stored."""

    def keys(urls: list[object]) -> Iterator[tuple[str, CacheKey]]:
        for url in urls:
            if not isinstance(url, str):
                raise ProblemError(400, "urls: expected texts")
            with suppress(RequestError):  # no object has such a name
                yield url, in_force.regime.targets.resolve(target_of(url)).named

    async def tell(request: Request) -> Response:
        said = wish_of(request)
        urls = said.get("urls") if isinstance(said, dict) else None
        if not isinstance(urls, list) or len(urls) > MOST_SIZES:
            raise ProblemError(400, f"urls: expected a list of up to {MOST_SIZES}")
        asked = dict(keys(urls))
        sizes = await contents.sizes(list(asked.values()), others)
        return JSONResponse({"sizes": {url: sizes[key.text] for url, key in asked.items() if key.text in sizes}})

    return Operation(
        method="POST",
        path="/sizes",
        role=Role.READ,
        summary="How large the objects under these URLs are, as far as the node has them",
        description="Bytes of bodies, by the index of the disks, or else by the RAM of all workers.",
        handler=tell,
        is_question=True,
        body=record(urls=array(TEXT, maxItems=MOST_SIZES)),
        most_bytes=MOST_SIZES << 14,
        answer=record(sizes=_SIZES),
    )


def _showing_entries(in_force: InForce, contents: Contents, others: AskOtherWorkers) -> Operation:
    """`?url=/a` is answered with `{"key": "/a", "route": "default", "vary": [], "entries": [...]}`."""

    async def show(request: Request) -> Response:
        url = request.query_params.get("url", "")
        if not url:
            raise ProblemError(400, "url: expected a URL or path as clients request it")
        resource = in_force.regime.targets.resolve(target_of(url))
        found = await contents.of_all(resource.named, others)
        said = {
            "key": resource.named.text.decode("ascii", "backslashreplace"),
            "route": resource.route.name,
            "vary": list(found.vary),
            "entries": [asdict(entry) for entry in found.entries],
        }
        return JSONResponse(said)

    return Operation(
        method="GET",
        path="/entries",
        role=Role.READ,
        summary="What the node has under a URL: in the RAM of each worker, and on disks",
        handler=show,
        query=[QueryParameter("url", "A URL or path as clients request it", {**TEXT, "minLength": 1}, required=True)],
        answer=record(key=TEXT, route=TEXT, vary=TEXTS, entries=array(_ENTRY)),
        refusals={400: "No client could request it"},
    )
