"""Other sources of credentials than the settings: a command, or AWS's chain. All of it blocks: use it in a thread."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from shield.errors import CredentialsError
from shield.origin.signer import Credentials

_LONGEST_OUTPUT = 64 * 1024  # of a command; credentials are a few kilobytes
_SHOWN = 200  # characters of a command's last words on its standard error

_NAMES = ("AccessKeyId", "SecretAccessKey", "SessionToken")


class KeySource(Protocol):
    """Obtains credentials."""

    def obtain(self) -> Credentials:
        """The credentials of now. Blocks. Raises CredentialsError, without a secret in it."""


class CommandKeys:
    """Credentials that a program prints, in the format of AWS's `credential_process` (AWS SDKs and Tools Reference
    Guide, "Process credential provider").
    """

    def __init__(self, command: Sequence[str], *, timeout: float) -> None:
        self._command = list(command)
        self._timeout = timeout

    def obtain(self) -> Credentials:
        program = self._command[0]
        try:
            done = subprocess.run(  # a list, so that no shell reads it
                self._command, stdin=subprocess.DEVNULL, capture_output=True, timeout=self._timeout, check=False
            )
        except OSError as error:
            raise CredentialsError(f"{program} can't be run: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise CredentialsError(f"{program} took longer than {self._timeout:g} s") from None
        if done.returncode:
            ended = f"exited with {done.returncode}" if done.returncode > 0 else f"was killed ({-done.returncode})"
            words = done.stderr.decode("utf-8", "replace").strip().splitlines()
            said = "".join([each if each.isprintable() else " " for each in words[-1]])[:_SHOWN] if words else ""
            raise CredentialsError(f"{program} {ended}{': ' if said else ''}{said}")
        return parse(done.stdout, program)


def parse(output: bytes, program: str) -> Credentials:
    """The credentials in a command's output. Raises CredentialsError, which never quotes it."""
    try:
        said = json.loads(output) if len(output) <= _LONGEST_OUTPUT else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise CredentialsError(f"{program} printed no JSON object of at most 64 KiB")
    if said.get("Version") != 1:
        raise CredentialsError(f'{program} printed no "Version": 1')
    key, secret, token = [said.get(name) for name in _NAMES]
    for name, value in zip(_NAMES[:2], (key, secret), strict=True):
        if not isinstance(value, str):
            raise CredentialsError(f'{program} printed no "{name}"')
    if not (token is None or isinstance(token, str)):
        raise CredentialsError(f'{program} printed no "{_NAMES[2]}"')
    try:
        return Credentials(str(key), str(secret), token, expires=_expiry(said.get("Expiration"), program))
    except ValueError as error:
        raise CredentialsError(f"{program} printed {error}") from None


def _expiry(value: object, program: str) -> float | None:
    if value is None:
        return None
    try:
        expiry = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        expiry = None
    if expiry is None or expiry.tzinfo is None:
        raise CredentialsError(
            f'{program} printed an "Expiration" that is no ISO 8601 time with a zone, as 2030-01-01T00:00:00Z'
        )
    return expiry.timestamp()


class AwsChainKeys:
    """Credentials from AWS's chain, by botocore, which renews those that expire."""

    def __init__(self, profile: str | None) -> None:
        self._profile = profile
        self._found: Any = None  # botocore's, kept since it holds what it has fetched until that expires

    def obtain(self) -> Credentials:
        # Imported here: an extra, and a third of a second at the start of nodes that don't use it.
        from botocore import session
        from botocore.exceptions import BotoCoreError

        try:
            if self._found is None:
                self._found = session.Session(profile=self._profile).get_credentials()
            if self._found is None:
                raise CredentialsError("AWS's chain has found none: no variables, files, web identity or metadata")
            keys = self._found.get_frozen_credentials()
        except (BotoCoreError, OSError, ValueError) as error:
            raise CredentialsError(f"AWS's chain: {error}") from None
        expiry = getattr(self._found, "_expiry_time", None)  # it has no public name
        try:
            return Credentials(
                keys.access_key, keys.secret_key, keys.token, expires=None if expiry is None else expiry.timestamp()
            )
        except (TypeError, ValueError) as error:
            raise CredentialsError(f"AWS's chain: {error}") from None
