"""Admits calls of the admin API by their tokens, and counts those that it doesn't admit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Mapping

from starlette.requests import Request

from shield.admin.problems import ProblemError
from shield.complaints import Complaints
from shield.rules.tokens import AdminTokens, Caller, Role, TokenDenial

log = logging.getLogger("shield.admin")

_CHALLENGE = 'Bearer realm="shield"'


class Doorkeeper:
    """Of one worker."""

    def __init__(self, tokens: AdminTokens | None = None) -> None:
        self.tokens = AdminTokens() if tokens is None else tokens
        self._denied = dict.fromkeys(TokenDenial, 0)
        self._complaints = Complaints(log)

    def admit_by(self, tokens: AdminTokens) -> None:
        """Use these from now on."""
        self.tokens = tokens

    @property
    def denied(self) -> Mapping[str, int]:
        """Calls that weren't admitted, by the reason."""
        return {denial.value: count for denial, count in self._denied.items()}

    def admit(self, request: Request, needed: Role) -> Caller:
        """The caller, who is known to the request from then on. Raises ProblemError: 401 without a token that is
        known, 403 if its role isn't enough.
        """
        caller, denial = self.tokens.judge(request.headers.get("authorization"), needed)
        if caller is not None:
            request.state.who, request.state.role = caller.who, caller.role
        if denial is not None:
            self._denied[denial] += 1
        if caller is not None and denial is None:
            return caller
        where = "a unix socket" if request.client is None else request.client.host
        if caller is None:
            said = {
                TokenDenial.MISSING: "expected a token: Authorization: Bearer ...; admin.tokens has them",
                TokenDenial.MALFORMED: "expected Authorization: Bearer and a token, or Basic and its name and secret",
            }.get(denial or TokenDenial.UNKNOWN, "this token isn't one of admin.tokens")
            error = "" if denial is TokenDenial.MISSING else ', error="invalid_token"'
            self._complain(denial, request, where, said)
            raise ProblemError(401, said, headers={"www-authenticate": _CHALLENGE + error})
        said = f"token {caller.who} has the role {caller.role.word}; this takes {needed.word}"
        self._complain((denial, caller.who), request, where, said)
        error = f', error="insufficient_scope", scope="{needed.word}"'
        raise ProblemError(403, said, headers={"www-authenticate": _CHALLENGE + error})

    def _complain(self, kind: Hashable, request: Request, where: str, said: str) -> None:
        what = f"{request.method} {request.url.path!r} from {where}"
        self._complaints.say(kind, asyncio.get_running_loop().time(), "admin: %s denied: %s", what, said)
