"""Calls of an admin API in the test's process: of an application, or of a node on its own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.api import AdminApi
from shield.admin.operations import Operation
from shield.rules.tokens import AdminToken, AdminTokens, Role
from tests.node import Shield

TOKENS = AdminTokens([AdminToken.of(role.word, role, role.word * 8) for role in Role])
"""A token for each role, which is its name, and eight times that its secret."""


def bearer(role: Role | str) -> dict[str, str]:
    word = role.word if isinstance(role, Role) else role
    return {"authorization": f"Bearer {word * 8}"}


def call(app: Starlette | AdminApi, method: str, path: str, **more: Any) -> httpx.Response:
    """Of an application that needs no node; an exception in it becomes a response."""
    return asyncio.run(_called(httpx.ASGITransport(app=app, raise_app_exceptions=False), method, path, more))


def ask(shield: Shield, method: str, path: str, **more: Any) -> httpx.Response:
    """Of a node, on its own loop; an exception is raised."""
    return shield.run(_called(httpx.ASGITransport(app=shield.node.admin), method, path, more))


async def _called(transport: httpx.ASGITransport, method: str, path: str, more: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        return await client.request(method, path, **more)


async def who_is_it(request: Request) -> Response:
    state = request.state
    return JSONResponse({"who": state.who, "role": state.role and state.role.word, "body": state.body.decode()})


def operation(
    method: str = "GET",
    path: str = "/thing",
    *,
    role: Role | None = Role.READ,
    handler: Callable[[Request], Awaitable[Response]] = who_is_it,
    **more: Any,
) -> Operation:
    return Operation(method=method, path=path, role=role, summary="A thing", handler=handler, **more)
