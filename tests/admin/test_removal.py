"""Removal by the admin API: what it passes on, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import httpx
import pytest

from shield.admin.api import admin_api
from shield.admin.removal import MAX_BYTES, MAX_PATHS, removal
from shield.errors import RequestError, StoreError
from shield.rules.written import prefixes_of

JSON = "application/json"


class Store:
    """Remembers what was to be removed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.removed: list[bytes] = []
        self.error = error

    async def remove(self, paths: Sequence[bytes]) -> int:
        if self.error is not None:
            raise self.error
        self.removed += paths
        return len(paths)

    async def remove_prefix(self, prefix: str) -> None:
        self.removed += [each + b"*" for each in prefixes_of(prefix)]


def ask(
    store: Store, body: bytes, *, kind: str = JSON, prefixes: bool = True, method: str = "POST"
) -> httpx.Response:
    app = admin_api([removal(store.remove, store.remove_prefix if prefixes else None)])

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://admin") as client:
            return await client.request(method, "/store/remove", content=body, headers={"content-type": kind})

    return asyncio.run(run())


def test_paths_are_removed_and_counted() -> None:
    store = Store()

    answer = ask(store, json.dumps({"paths": ["/a?w=1", "/b"]}).encode())

    assert (answer.status_code, answer.json()) == (200, {"removed": 2})
    assert store.removed == [b"/a?w=1", b"/b"]


def test_urls_are_removed_as_clients_ask_for_them() -> None:
    urls = {
        "https://cdn.example/a?w=1#x": b"/a?w=1",
        "HTTP://cdn.example:81": b"/",
        "http://x?w=1": b"/?w=1",
        "/http://x/y": b"/http://x/y",
        "ftp://me:secret@x/y z": b"/y%20z",
        "/a#b": b"/a",
        "/\u00e4 b": b"/%C3%A4%20b",
        "s1:/a?w=1": b"s1:/a?w=1",
    }
    store = Store()

    ask(store, json.dumps({"paths": list(urls)}).encode())

    assert store.removed == list(urls.values())


def test_a_prefix_is_removed_in_every_spelling_that_keys_have() -> None:
    store = Store()

    ask(store, json.dumps({"prefix": "https://cdn.example/\u00e4,%62/"}).encode())

    assert store.removed == [b"/%C3%A4%2Cb/*", b"/%C3%A4,b/*"]


@pytest.mark.parametrize("prefix", ["/images/", "s1:/images/", ":/", "/"])
def test_a_prefix_is_removed_without_being_counted(prefix: str) -> None:
    store = Store()

    answer = ask(store, json.dumps({"prefix": prefix}).encode(), kind="application/json; charset=utf-8")

    assert (answer.status_code, answer.json()) == (200, {"removed": None})
    assert store.removed == [prefix.encode() + b"*"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"paths": "/a"}',
        b'{"paths": [1]}',
        b'{"prefix": ""}',
        b'{"prefix": "images"}',
        b'{"prefix": "/images/*"}',
        b'{"prefix": "/im*ges/"}',
        b'{"prefix": "https://cdn.example"}',
        b'{"prefix": "/\\ud800"}',
        b'{"prefix": "/a", "paths": ["/b"]}',
        b'{"path": ["/a"]}',
        b'{"paths": ["/a",]}',
        b'{"paths": ["/a" "/b"]}',
        b'{"paths": ["/a"], "prefix": "/b"}',
        b'{"paths": ["/a"]} x',
        b'{"paths": ["/a\n"]}',
        b'{"paths": ["/\\x"]}',
        b'{"paths": ["/a"',
        b"\xff",
        b'{"prefix": "/' + b"x" * 100_000 + b'"}',
    ],
)
def test_what_isnt_a_wish_is_refused_and_nothing_removed(body: bytes) -> None:
    store = Store()

    answer = ask(store, body)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("expected")
    assert store.removed == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_page_in_a_browser_could_send_is_refused(kind: str) -> None:
    store = Store()

    assert ask(store, b'{"prefix": "/"}', kind=kind).status_code == 415
    assert store.removed == []


@pytest.mark.parametrize("path", ["http://[x/", "/\\ud800", "s1:/\u00e4"])
def test_what_no_client_could_ask_for_is_refused(path: str) -> None:
    store = Store()

    answer = ask(store, b'{"paths": ["/a", "%b"]}' % path.encode())

    assert (answer.status_code, store.removed) == (400, [])
    assert answer.json()["detail"].startswith("a path would be rejected in a request: 400")


@pytest.mark.parametrize(("error", "status"), [(RequestError(400, "not-a-path"), 400), (StoreError("full"), 500)])
def test_errors_are_told(error: Exception, status: int) -> None:
    answer = ask(Store(error), b'{"paths": ["/a"]}')

    assert answer.status_code == status
    assert str(error) in answer.json()["detail"]


def test_a_node_that_knows_no_prefixes_says_so() -> None:
    assert ask(Store(), b'{"prefix": "/"}', prefixes=False).status_code == 501


def test_nothing_is_removed_by_looking() -> None:
    assert ask(Store(), b"", method="GET").status_code == 405


@pytest.mark.parametrize("body", [b'{"paths":[]}', b' {\t"paths" :\n[ ] } ', b'{"paths": ["\\u002fa"]}'])
def test_json_may_be_spelled_as_one_likes(body: bytes) -> None:
    store = Store()

    assert ask(store, body).status_code == 200
    assert store.removed == ([b"/a"] if b"u002f" in body else [])


@pytest.mark.parametrize(
    "body", [b'{"paths": ["' + b"x" * MAX_BYTES + b'"]}', b'{"paths": [' + b'"/",' * (MAX_PATHS + 1500) + b'"/"]}']
)
def test_what_is_too_much_at_once_is_refused_and_nothing_removed(body: bytes) -> None:
    store = Store()

    answer = ask(store, body)

    assert answer.status_code == 413
    assert answer.headers.get("connection") == ("close" if len(body) > MAX_BYTES else None)
    assert store.removed == []


def test_others_have_their_turn_while_many_paths_are_read() -> None:
    store, turns = Store(), 0
    app = admin_api([removal(store.remove)])

    async def run() -> None:
        nonlocal turns

        def turn() -> None:
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(turn)

        turn()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://admin") as client:
            await client.post("/store/remove", json={"paths": ["/a"] * 100_000})

    asyncio.run(run())
    assert len(store.removed) == 100_000
    assert turns > 100
