"""Errors of the admin API as problem details (RFC 9457): `type`, `title`, `status`, `detail`, `instance`; and
`problems`, a line each, as commands print them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import JSONResponse

PROBLEM_TYPE = "application/problem+json"


class ProblemError(Exception):
    """A call that isn't carried out: its status, and the reasons, a line each, with the remedy.

    `more` are further members of the answer, `headers` fields of its head.
    """

    def __init__(
        self,
        status: int,
        *problems: str,
        more: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("; ".join(problems))
        self.status = status
        self.problems = problems
        self.more = more or {}
        self.headers = headers or {}


def problem_response(error: ProblemError, instance: str) -> JSONResponse:
    """The answer to a call to `instance` that isn't carried out."""
    status = HTTPStatus(error.status)
    problems: Sequence[str] = error.problems or (status.description or status.phrase,)
    said = {
        **error.more,
        "type": "about:blank",
        "title": status.phrase,
        "status": error.status,
        "detail": "; ".join(problems),
        "instance": instance,
        "problems": list(problems),
    }
    return JSONResponse(said, error.status, error.headers, media_type=PROBLEM_TYPE)
