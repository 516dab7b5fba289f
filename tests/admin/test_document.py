"""The OpenAPI document of a whole node: every route is in it, and calls made of it are answered as it says."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from tests.admin.calls import call
from tests.node import Shield


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
