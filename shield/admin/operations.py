"""Operations of the admin API: a description of each, from which its route and the OpenAPI document are made.

What all have in common is done here, before the handler is called: the token's role, the body's type, size and time,
and errors as problem details.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shield.admin.problems import ProblemError, problem_response
from shield.admin.schemas import TEXT, Schema
from shield.errors import RequestError, StoreError
from shield.rules.summaries import discreet
from shield.rules.tokens import Caller, Role
from shield.rules.written import WrittenError

BODY_SECONDS = 30.0
MOST_BYTES = 64 * 1024
JSON = "application/json"

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """One parameter of an operation's query."""

    name: str
    summary: str
    schema: Schema = field(default_factory=lambda: TEXT)
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path. `{name}` in the path is a parameter: `request.path_params["name"]`.

    The handler finds `request.state.who` (the token's name), `.role` and `.body` (bytes); it raises ProblemError for
    what it doesn't carry out. Calls with other methods than GET change something: they are written to the audit log,
    unless they are questions. A handler may set `request.state.noted` to a summary of a body that is large or secret.
    """

    method: str
    path: str
    role: Role | None  # that it takes; None: everyone may, without a token
    summary: str
    handler: Handler
    description: str = ""
    query: Sequence[QueryParameter] = ()
    is_question: bool = False  # it changes nothing, though it isn't a GET
    body: Schema | None = None
    body_needed: bool = True
    kinds: Sequence[str] = (JSON,)  # media types of the body
    most_bytes: int = MOST_BYTES
    answer: Schema = field(default_factory=lambda: TEXT)  # of status 200
    media: str = JSON
    answers: Mapping[int, tuple[str, Schema]] = field(default_factory=dict)  # other statuses with bodies of `media`
    refusals: Mapping[int, str] = field(default_factory=dict)  # statuses of problems beside the usual ones

    @property
    def changes(self) -> bool:
        return self.method not in ("GET", "HEAD") and not self.is_question


class Doorman(Protocol):
    """Decides on calls before they are carried out. `admit` sets `request.state.who` and `.role`, and raises
    ProblemError.
    """

    def admit(self, request: Request, needed: Role) -> Caller: ...


class Witness(Protocol):
    """Is told of each changing call, after it."""

    async def record(self, request: Request, operation: Operation, status: int, problems: Sequence[str]) -> None: ...


def by_path(operations: Iterable[Operation]) -> dict[str, dict[str, Operation]]:
    """The operations by path and method. Raises ValueError if one is described twice."""
    found: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        methods = found.setdefault(operation.path, {})
        if operation.method in methods:
            raise ValueError(f"{operation.method} {operation.path} is described twice")
        methods[operation.method] = operation
    return found


def routes_of(
    operations: Mapping[str, Mapping[str, Operation]],
    doorman: Doorman,
    witness: Witness | None = None,
    *,
    body_seconds: float,
) -> list[Route]:
    """A route for each path."""
    return [
        Route(path, _endpoint(methods, doorman, witness, body_seconds), methods=list(methods))
        for path, methods in operations.items()
    ]


def _endpoint(
    methods: Mapping[str, Operation], doorman: Doorman, witness: Witness | None, body_seconds: float
) -> Handler:
    async def answer(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        request.state.who, request.state.role = "", None
        problems: Sequence[str] = ()
        try:
            if operation.role is not None:
                doorman.admit(request, operation.role)
            _check_query(request, operation)
            request.state.body = await _body(request, operation, body_seconds)
            response = await operation.handler(request)
        except (ProblemError, WrittenError, RequestError, StoreError) as error:
            problem = _as_problem(error)
            problems = problem.problems
            response = problem_response(problem, request.url.path)
        if operation.changes and witness is not None and request.state.who:
            await witness.record(request, operation, response.status_code, problems)
        return response

    return answer


def _as_problem(error: Exception) -> ProblemError:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, RequestError):
        return ProblemError(400, f"a path would be rejected in a request: {error}")
    return ProblemError(500 if isinstance(error, StoreError) else 400, str(error))


def _check_query(request: Request, operation: Operation) -> None:
    """Raises ProblemError for a parameter that isn't one, where there are some: it may be a slip."""
    known = [each.name for each in operation.query]
    if known and operation.role is not None and (unknown := set(request.query_params) - set(known)):
        raise ProblemError(400, f"{discreet(min(unknown))}: unknown parameter; expected {', '.join(known)}")


async def _body(request: Request, operation: Operation, seconds: float) -> bytes:
    """The body, which must have arrived after so many seconds. Raises ProblemError."""
    length = request.headers.get("content-length", "0")
    if operation.body is None and not operation.changes:
        return b""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = length != "0" or "transfer-encoding" in request.headers
    # A browser would send other types on behalf of any page, without a preflight.
    if kind not in operation.kinds and (kind or has_body or (operation.body is not None and operation.body_needed)):
        raise ProblemError(415, f"expected {' or '.join(operation.kinds)}", headers=_closing)
    most = operation.most_bytes
    if not length.isdecimal() or int(length) > most:
        raise _too_large(most)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise _too_large(most)
    except TimeoutError:
        raise ProblemError(408, f"the body took more than {seconds:g} s to arrive", headers=_closing) from None
    if operation.body is None and bytes(body.strip()) not in (b"", b"{}"):
        raise ProblemError(400, "expected no body")
    return bytes(body)


_closing = {"connection": "close"}  # the rest of a body isn't waited for


def _too_large(most: int) -> ProblemError:
    return ProblemError(413, f"expected {most} bytes at most; ask in several requests", headers=_closing)


def wish_of(request: Request) -> Any:
    """The body as JSON; None if there is none. Raises ProblemError."""
    if not request.state.body.strip():
        return None
    try:
        return json.loads(request.state.body)
    except (ValueError, RecursionError):
        raise ProblemError(400, "expected JSON") from None


async def as_problem(request: Request, error: Exception) -> Response:
    """The response to a call that no route accepts (404, 405), and to a fault of ours."""
    if isinstance(error, HTTPException):
        remedy = {404: "there is nothing here; /openapi.json lists what there is"}.get(error.status_code)
        problem = ProblemError(error.status_code, remedy or error.detail, headers=dict(error.headers or {}))
    else:
        problem = ProblemError(500, f"internal error: {type(error).__name__}; the log has more")
    return problem_response(problem, request.url.path)
