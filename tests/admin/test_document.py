"""The OpenAPI document of a whole node: every route is in it, and calls made of it are answered as it says."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
import uvicorn
from hypothesis.errors import InvalidArgument, Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from starlette.routing import Route

from shield.rules.tokens import Role
from shield.shared import Seat
from tests.admin.calls import bearer, call
from tests.depth import tries
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import Shield, settings_of


def document(shield: Shield) -> dict[str, Any]:
    found: dict[str, Any] = call(shield.node.admin, "GET", "/openapi.json").json()
    return found


def test_every_route_is_in_the_document_and_nothing_else(shield: Shield) -> None:
    routes = {
        (route.path, method.lower())
        for route in shield.node.admin.routes
        if isinstance(route, Route) and route.methods
        for method in route.methods - {"HEAD"}
    }

    described = {(path, method) for path, methods in document(shield)["paths"].items() for method in methods}

    assert described == routes
    assert len(routes) > 20


def test_every_operation_has_a_name_of_its_own(shield: Shield) -> None:
    names = [each["operationId"] for methods in document(shield)["paths"].values() for each in methods.values()]

    assert len(set(names)) == len(names)


def test_no_operation_is_forgotten_that_takes_a_token(origin: FaultyOrigin) -> None:
    tokens = {role.word: {"role": role.word, "secret": role.word * 8} for role in Role}
    with Shield(settings_of({"fra": origin}, admin={"tokens": tokens})) as shield:
        answers = {
            (path, method): (call(shield.node.admin, method.upper(), path).status_code, "security" in said)
            for path, methods in document(shield)["paths"].items()
            for method, said in methods.items()
        }

    assert all((status == 401) is takes_token for status, takes_token in answers.values()), answers
    assert sorted(path for (path, _), (status, _) in answers.items() if status != 401) == [
        *("/", "/health", "/live", "/openapi.json", "/page.css", "/page.js", "/ready"),
    ]


@pytest.mark.busy
@pytest.mark.parametrize("mode", GenerationMode)
def test_calls_made_of_the_document_are_answered_as_it_says(tmp_path: Path, mode: GenerationMode) -> None:
    """Valid ones aren't refused, invalid ones are; statuses, media types and bodies are those that are described."""
    before = logging.getLogger("shield").level
    tokens = {role.word: {"role": role.word, "secret": role.word * 8} for role in Role}
    with FaultyOrigin() as fra, FaultyOrigin() as iad:
        settings = settings_of({"fra": fra, "iad": iad}, admin={"tokens": tokens})
        with Shield(settings, place=Seat(state=tmp_path)) as shield, served(shield) as url:
            for found in schemathesis.openapi.from_dict(document(shield)).get_all_operations():
                assert isinstance(found, Ok)
                operation = found.ok()
                if not STREAMS & set(operation.definition.raw["responses"]["200"]["content"]):
                    try_out(operation, url, mode)
            shield.call(shield.node.drills.stop)
    logging.getLogger("shield").setLevel(before)


STREAMS = {"text/event-stream", "application/x-ndjson", "application/jsonl"}  # answers that may not end
OF_NAMES = (
    "POST /store/remove",
    "POST /store/takedown",
    "POST /announce",
    "POST /purge",
    "POST /warm",
    "GET /entries",
)  # no schema tells all that is no URL


def try_out(operation: Any, url: str, mode: GenerationMode) -> None:
    cases = operation.as_strategy(generation_mode=mode)
    excluded = [ignored_auth, *([positive_data_acceptance] if operation.label in OF_NAMES else [])]

    @hypothesis.given(case=cases)
    @hypothesis.settings(
        max_examples=tries(5),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def check(case: Any) -> None:
        # Without a token: that is tried below, of all operations.
        case.call_and_validate(base_url=url, headers=bearer(Role.OPERATE), excluded_checks=excluded)

    with suppress(Unsatisfiable, InvalidArgument):  # nothing about it can be wrong
        check()


@contextmanager
def served(shield: Shield) -> Iterator[str]:
    """The address at which the node's admin API is served meanwhile, on the node's own loop."""
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(shield.node.admin, lifespan="off", log_config=None, ws="none"))

    async def begin() -> asyncio.Task[None]:
        return asyncio.ensure_future(server.serve(sockets=[bound]))

    async def end(task: asyncio.Task[None]) -> None:
        server.should_exit = True
        await task

    task = shield.run(begin())
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        shield.run(end(task))
