"""Requests that the admin API accepts, by their host and page."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from shield.admin.visitors import Visitors


def ask(host: str | None, names: Collection[str] = (), *, origin: str | None = None) -> int:
    app = Visitors(Starlette(routes=[Route("/", lambda request: PlainTextResponse("in"))]), names)
    headers = {} if origin is None else {"origin": origin}

    async def get() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            made = client.build_request("GET", "/", headers=headers)
            if host is None:
                del made.headers["host"]
            else:
                made.headers["host"] = host
            return (await client.send(made)).status_code

    return asyncio.run(get())


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:9180", "[::1]:9180", "10.1.2.3:80", "localhost", "localhost:9180", "a.localhost"),
        *("localhost.", "localhost.:9180", "LOCALHOST.", "a.localhost.", "known.example.", "known.example.:9180"),
        *("shield", "shield-0:9180", "known.example", "KNOWN.example:1", None),
    ],
)
def test_addresses_and_names_of_this_network_are_let_in(host: str | None) -> None:
    assert ask(host, ["Known.example"]) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9180", "127.0.0.1.evil.example", "evil.", "evil.notlocalhost", "[::1", "@"]
)
def test_a_name_that_a_page_may_have_made_to_point_here_is_not(host: str) -> None:
    assert ask(host, ["known.example"]) == 421
    assert ask(host, ["*"]) == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:9180", 200), ("http://127.0.0.1", 403), ("https://evil.example", 403), ("null", 403)],
)
def test_of_pages_only_our_own_are_let_in(origin: str, status: int) -> None:
    assert ask("127.0.0.1:9180", origin=origin) == status
