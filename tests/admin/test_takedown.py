"""Takedowns by the admin API: what it passes on, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx
import pytest

from shield.admin.api import admin_api
from shield.admin.takedown import takedown
from shield.errors import StoreError


class Store:
    """Remembers what was taken down, and lifted."""

    def __init__(self, error: Exception | None = None) -> None:
        self.down: list[bytes] = []
        self.lifted: list[bytes] = []
        self.error = error

    async def take_down(self, targets: Sequence[bytes]) -> tuple[int, bool]:
        if self.error is not None:
            raise self.error
        self.down += targets
        return 3, True

    async def lift(self, targets: Sequence[bytes]) -> int:
        self.lifted += targets
        return 1


def ask(store: Store, body: bytes, *, kind: str = "application/json") -> httpx.Response:
    app = admin_api([takedown(store.take_down, store.lift)])

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://admin") as client:
            return await client.post("/store/takedown", content=body, headers={"content-type": kind})

    return asyncio.run(run())


def test_objects_are_taken_down_and_lifted() -> None:
    store = Store()

    down = ask(store, b'{"paths": ["https://cdn.example/a?w=1", ":/b"]}')
    lifted = ask(store, b'{"lift": ["/a"]}')

    assert (down.status_code, down.json()) == (200, {"removed": 3, "kept": True})
    assert (lifted.status_code, lifted.json()) == (200, {"lifted": 1})
    assert (store.down, store.lifted) == ([b"/a?w=1", b":/b"], [b"/a"])


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"paths": "/a"}', b'{"paths": [1]}', b'{"paths": [], "lift": []}', b'{"x": []}'],
)
def test_what_isnt_a_wish_is_refused(body: bytes) -> None:
    store = Store()

    answer = ask(store, body)

    assert answer.status_code == 400 and answer.json()["detail"].startswith("expected")
    assert not store.down and not store.lifted


def test_a_page_in_a_browser_takes_nothing_down() -> None:
    assert ask(Store(), b'{"paths": ["/a"]}', kind="text/plain").status_code == 415


def test_errors_are_told() -> None:
    answer = ask(Store(StoreError("disk full")), b'{"paths": ["/a"]}')
    assert (answer.status_code, answer.json()["problems"]) == (500, ["disk full"])
    assert ask(Store(), b'{"paths": ["http://[x/"]}').status_code == 400
