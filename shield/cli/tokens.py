"""The token that commands send to a running node: by option, by variable, or one of the settings' own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from shield.cli.options import given_token
from shield.rules.tokens import TOKEN_VARIABLE, Role


@dataclass(frozen=True, slots=True)
class OwnToken:
    """A token of the settings. `secret` None: it can't be read here, for the reason `why`."""

    name: str
    role: Role
    secret: str | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class SentToken:
    """A token to be sent, None: there is none; and what is to be said if the node refuses it, in a line."""

    secret: str | None
    remedy: str


NO_TOKEN = SentToken(None, "no token was sent")


def token_of(own: Sequence[OwnToken]) -> SentToken:
    """The token to be sent to a node whose settings have these."""
    given = given_token()
    if given is not None:
        return SentToken(given, "the token is that of --token-file")
    if given := os.environ.get(TOKEN_VARIABLE, "").strip():
        return SentToken(given, f"the token is that of {TOKEN_VARIABLE}")
    readable = [token for token in own if token.secret is not None]
    if readable:
        best = max(readable, key=lambda token: token.role)
        return SentToken(best.secret, f"the token is {best.name} of these settings; --token-file names another")
    said = f"no token was sent: give one by --token-file FILE or {TOKEN_VARIABLE}"
    if own:
        reasons = ", ".join(f"{token.name}: {token.why}" for token in own)
        said += f", since those of the settings can't be read here ({reasons})"
    return SentToken(None, said)
