"""Orders to purge, given to a node of the test's process as operators give them."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.client import Answer
from tests.node import Shield


def ask(shield: Shield, method: str, path: str, **more: Any) -> httpx.Response:
    """A call of the admin API, on the node's own loop."""

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=shield.node.admin)
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            return await client.request(method, path, **more)

    return shield.run(call())


def order(shield: Shield, **said: Any) -> dict[str, Any]:
    """The answer to an order that is carried out."""
    answer = ask(shield, "POST", "/purge", json=said)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(shield: Shield, status: int, **said: Any) -> str:
    """The reason why an order isn't carried out."""
    answer = ask(shield, "POST", "/purge", json=said)
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


def said(answer: Answer) -> Any:
    return json.loads(answer.body)
