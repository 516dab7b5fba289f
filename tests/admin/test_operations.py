"""What all operations of the admin API have in common: roles, bodies, problems, and the document."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from shield.admin.api import admin_api
from shield.admin.doorkeeper import Doorkeeper
from shield.admin.operations import QueryParameter, wish_of
from shield.admin.problems import ProblemError
from shield.admin.schemas import TEXT, record
from shield.errors import RequestError, StoreError
from shield.rules.tokens import Role
from shield.rules.written import WrittenError
from tests.admin.calls import TOKENS, bearer, call, operation

JSON = {"content-type": "application/json"}


def of(role: Role, doorkeeper: Doorkeeper | None = None) -> Any:
    return admin_api([operation(role=role)], doorkeeper=doorkeeper or Doorkeeper(TOKENS))


@pytest.mark.parametrize("needed", Role)
@pytest.mark.parametrize("given", Role)
def test_a_call_takes_a_token_with_the_role_of_the_operation(needed: Role, given: Role) -> None:
    doorkeeper = Doorkeeper(TOKENS)
    answer = call(of(needed, doorkeeper), "GET", "/thing", headers=bearer(given))

    if given >= needed:
        assert answer.json() == {"who": given.word, "role": given.word, "body": ""}
        return
    assert answer.status_code == 403
    assert answer.json()["problems"] == [f"token {given.word} has the role {given.word}; this takes {needed.word}"]
    assert f'scope="{needed.word}"' in answer.headers["www-authenticate"]
    assert doorkeeper.denied == {"missing": 0, "malformed": 0, "unknown": 0, "role": 1}


@pytest.mark.parametrize(
    ("headers", "error", "reason"),
    [
        ({}, "", "missing"),
        ({"authorization": "Basic eDp"}, 'error="invalid_token"', "malformed"),
        (bearer("guessed"), 'error="invalid_token"', "unknown"),
    ],
)
def test_a_call_without_a_known_token_is_challenged_counted_and_logged(
    caplog: pytest.LogCaptureFixture, headers: dict[str, str], error: str, reason: str
) -> None:
    doorkeeper = Doorkeeper(TOKENS)
    with caplog.at_level(logging.WARNING):
        answer = call(of(Role.READ, doorkeeper), "GET", "/thing", headers=headers)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith('Bearer realm="shield"')
    assert error in answer.headers["www-authenticate"]
    assert doorkeeper.denied[reason] == sum(doorkeeper.denied.values()) == 1
    assert "GET '/thing' from 127.0.0.1 denied: " in caplog.text
    assert "guessed" not in caplog.text + answer.text


def test_of_each_token_whose_role_is_not_enough_there_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    app = of(Role.OPERATE)
    for given in (Role.READ, Role.READ, Role.PURGE):
        call(app, "GET", "/thing", headers=bearer(given))

    assert [word for word in ("read", "purge") if f"token {word} has the role {word}" in caplog.text] == [
        "read",
        "purge",
    ]
    assert len(caplog.records) == 2


def test_what_needs_no_token_takes_none() -> None:
    app = admin_api([operation(role=None)], doorkeeper=Doorkeeper(TOKENS))

    assert call(app, "GET", "/thing").json()["role"] is None
    assert call(app, "GET", "/openapi.json").status_code == 200


def test_without_tokens_all_callers_are_local() -> None:
    assert call(admin_api([operation(role=Role.OPERATE)]), "GET", "/thing").json() == {
        "who": "local",
        "role": "operate",
        "body": "",
    }


@pytest.mark.parametrize(
    ("error", "status", "problems"),
    [
        (ProblemError(409, "one", "two"), 409, ["one", "two"]),
        (WrittenError("expected a path"), 400, ["expected a path"]),
        (RequestError(400, "not-a-path"), 400, ["a path would be rejected in a request: 400: not-a-path"]),
        (StoreError("disk full"), 500, ["disk full"]),
        (RuntimeError("hunter2"), 500, ["internal error: RuntimeError; the log has more"]),
    ],
)
def test_errors_are_told_as_problem_details(error: Exception, status: int, problems: list[str]) -> None:
    async def fail(request: Request) -> Response:
        raise error

    answer = call(admin_api([operation(handler=fail)]), "GET", "/thing?a=1")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": httpx.codes(status).name.replace("_", " ").title(),
        "status": status,
        "detail": "; ".join(problems),
        "instance": "/thing",
        "problems": problems,
    }


def test_members_beside_the_usual_ones_are_told() -> None:
    async def fail(request: Request) -> Response:
        raise ProblemError(409, "no", more={"version": "1.0", "status": 1})

    answer = call(admin_api([operation(handler=fail)]), "GET", "/thing").json()

    assert (answer["version"], answer["status"]) == ("1.0", 409)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/thing/", 404), ("PUT", "/thing", 405), ("OPTIONS", "/thing", 405)],
)
def test_what_isnt_there_is_told_as_problem_details(method: str, path: str, status: int) -> None:
    answer = call(admin_api([operation("POST"), operation()]), method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    if status == 405:
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


BODY = record(name=TEXT)


@pytest.mark.parametrize(
    ("more", "headers", "content", "status"),
    [
        ({"body": BODY}, JSON, b'{"name": "a"}', 200),
        ({"body": BODY}, {"content-type": "Application/JSON; charset=utf-8"}, b"{}", 200),
        ({"body": BODY}, {"content-type": "text/plain"}, b"{}", 415),
        ({"body": BODY}, {}, b"{}", 415),
        ({"body": BODY}, {}, b"", 415),
        ({"body": BODY}, JSON, b"x" * 101, 413),
        ({"body": BODY}, {**JSON, "content-length": "101"}, b"", 413),
        ({"body": BODY}, {**JSON, "content-length": "-1"}, b"", 413),
        ({"body": BODY, "body_needed": False}, {}, b"", 200),
        ({"body": BODY, "body_needed": False}, {"content-type": "text/plain"}, b"", 415),
        ({"body": BODY, "body_needed": False}, {}, b"{}", 415),
        ({}, {}, b"", 200),
        ({}, JSON, b"", 200),
        ({}, JSON, b"{}", 200),
        ({}, JSON, b"[]", 400),
        ({}, {"content-type": "application/x-www-form-urlencoded"}, b"", 415),
    ],
)
def test_a_body_is_of_the_type_and_size_that_is_described(
    more: dict[str, Any], headers: dict[str, str], content: bytes, status: int
) -> None:
    app = admin_api([operation("POST", most_bytes=100, **more)])

    answer = call(app, "POST", "/thing", headers=headers, content=content)

    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json()["body"] == content.decode()


def test_a_body_without_a_length_is_cut_off_at_its_limit() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 50

    answer = call(
        admin_api([operation("POST", most_bytes=100, body=BODY)]), "POST", "/thing", headers=JSON, content=parts()
    )

    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def test_a_body_that_doesnt_come_is_given_up() -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    app = admin_api([operation("POST", body=BODY)], body_seconds=0.01)

    answer = call(app, "POST", "/thing", headers=JSON, content=stuck())

    assert (answer.status_code, answer.headers["connection"]) == (408, "close")


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 30_000])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    async def read(request: Request) -> Response:
        wish_of(request)
        raise AssertionError

    answer = call(
        admin_api([operation("POST", handler=read, body=BODY)]), "POST", "/thing", headers=JSON, content=content
    )

    assert (answer.status_code, answer.json()["problems"]) == (400, ["expected JSON"])


@pytest.mark.parametrize(("query", "status"), [("", 200), ("?last=1", 200), ("?lats=1", 400), ("?last=1&%0A", 400)])
def test_a_parameter_that_isnt_one_is_a_slip(query: str, status: int) -> None:
    app = admin_api([operation(query=[QueryParameter("last", "How many")])])

    answer = call(app, "GET", f"/thing{query}")

    assert answer.status_code == status
    if "lats" in query:
        assert answer.json()["problems"] == ["lats: unknown parameter; expected last"]


def test_one_method_of_a_path_is_described_once() -> None:
    with pytest.raises(ValueError, match="GET /thing is described twice"):
        admin_api([operation(), operation()])


def test_the_document_says_who_may_call_what() -> None:
    app = admin_api(
        [operation(path="/a/{name}"), operation("POST", path="/a/{name}", role=Role.PURGE, refusals={409: "Not now"})]
    )

    paths = call(app, "GET", "/openapi.json").json()["paths"]

    assert set(paths) == {"/a/{name}", "/openapi.json"}
    assert paths["/a/{name}"]["post"]["security"] == [{"token": ["purge"]}]
    assert paths["/a/{name}"]["post"]["responses"].keys() == {
        *("200", "400", "401", "403", "408", "409", "413", "415")
    }
    assert paths["/a/{name}"]["get"]["responses"].keys() == {"200", "401"}
    assert [each["name"] for each in paths["/a/{name}"]["get"]["parameters"]] == ["name"]
    assert "security" not in paths["/openapi.json"]["get"]
