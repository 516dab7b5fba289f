"""Tokens of the admin API, and the permissions of their roles. Pure."""

from __future__ import annotations

import hmac
import re
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from hashlib import sha256

LEAST_CHARACTERS = 16
"""Of a token's secret. Anyone who reaches the listener may guess, as often as it answers."""

TOKEN_VARIABLE = "SHIELD_ADMIN_TOKEN"
"""No setting: the environment variable with the token that commands send."""

LOCAL = "local"
"""The name of callers where no tokens are configured: they are on this machine."""

_credentials = re.compile(r"(bearer|basic) +([!-~]+)", re.IGNORECASE).fullmatch


class Role(IntEnum):
    """The permissions of a token. Each role includes those before it."""

    READ = 1  # look at metrics, state and records
    PURGE = 2  # also remove entries, make them stale, and announce changes
    OPERATE = 3  # also everything else: reloads, drains, drills, warming, upgrades, the configuration, the audit log

    @property
    def word(self) -> str:
        """The role as settings spell it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Role:
        """The role that settings spell so. Raises KeyError."""
        return cls[word.upper()]


@dataclass(frozen=True, slots=True)
class Caller:
    """An admitted caller: the name of its token, and its role."""

    who: str
    role: Role


class TokenDenial(Enum):
    """Why a call isn't admitted; the value is the word in metrics."""

    MISSING = "missing"  # no Authorization field
    MALFORMED = "malformed"  # one of another scheme, or broken
    UNKNOWN = "unknown"  # no such token
    ROLE = "role"  # a token that may not do this


@dataclass(frozen=True, slots=True)
class AdminToken:
    """A configured token. Its secret is kept as a digest, so that neither time nor memory tells it."""

    name: str
    role: Role
    digest: bytes

    @classmethod
    def of(cls, name: str, role: Role, secret: str) -> AdminToken:
        return cls(name, role, sha256(secret.encode()).digest())


class AdminTokens:
    """All configured tokens. None at all: everyone is admitted, since then only this machine reaches the listener."""

    def __init__(self, tokens: Iterable[AdminToken] = ()) -> None:
        self._tokens = tuple(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def judge(self, authorization: str | None, needed: Role) -> tuple[Caller | None, TokenDenial | None]:
        """The caller by its Authorization field, and why it isn't admitted; None: it is.

        The field has the secret alone (Bearer, RFC 6750), or name and secret (Basic, RFC 7617), for senders that can
        only be given a URL. The caller is known even if its role isn't enough. Takes the same time whichever token it
        is.
        """
        if not self._tokens:
            return Caller(LOCAL, Role.OPERATE), None
        if authorization is None:
            return None, TokenDenial.MISSING
        given = _given(authorization.strip(" \t"))
        if given is None:
            return None, TokenDenial.MALFORMED
        name, secret = given
        digest = sha256(secret).digest()
        found = [token for token in self._tokens if hmac.compare_digest(token.digest, digest)]
        found = [token for token in found if name in (None, token.name.encode())]
        if not found:
            return None, TokenDenial.UNKNOWN
        caller = max([Caller(token.name, token.role) for token in found], key=lambda each: each.role)
        return caller, None if caller.role >= needed else TokenDenial.ROLE


def _given(authorization: str) -> tuple[bytes | None, bytes] | None:
    """A name, None if there is none, and a secret; None if it can't be read."""
    credentials = _credentials(authorization)
    if credentials is None:
        return None
    scheme, said = credentials.groups()
    if scheme.lower() == "bearer":
        return None, said.encode()
    try:
        name, colon, secret = b64decode(said, validate=True).partition(b":")
    except ValueError:
        return None
    return (name, secret) if colon else None
