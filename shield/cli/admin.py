"""Requests to the admin listener of the running node."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from shield.cli.tokens import NO_TOKEN, OwnToken, SentToken, token_of
from shield.config.admin import AdminAddress, UnixAddress
from shield.config.glimpse import Glimpse, glimpse
from shield.config.loading import SECRET_DIRECTORIES, SettingsSource, lines
from shield.config.settings import Settings
from shield.rules.tokens import Role

_JSON = ("application/json", "application/problem+json")


@dataclass(frozen=True, slots=True)
class AdminDoor:
    """Where a node is asked, and with what token. Its text is the address."""

    address: AdminAddress
    token: SentToken = NO_TOKEN

    @classmethod
    def of(cls, settings: Settings) -> AdminDoor | None:
        """None if these settings have no admin listener."""
        admin = settings.admin
        if admin.listen is None:
            return None
        own = [
            OwnToken(name, Role.of(each.role), None if each.secret is None else each.secret.get_secret_value())
            for name, each in admin.tokens.items()
        ]
        return cls(admin.listen, token_of(own))

    @property
    def has_port(self) -> bool:
        """Port 0 is another one at each start, so that nobody can ask there."""
        return isinstance(self.address, UnixAddress) or bool(self.address.port)

    def connection(self, seconds: float) -> HTTPConnection:
        """To be closed by the caller. Opened by the first request, which may raise OSError."""
        if isinstance(self.address, UnixAddress):
            return _UnixConnection(self.address.path, seconds)
        return HTTPConnection(self.address.near, self.address.port, timeout=seconds)

    def headers(self) -> dict[str, str]:
        """Those of every request. Every admin listener accepts this host, whatever name it listens on."""
        port = "" if isinstance(self.address, UnixAddress) else f":{self.address.port}"
        token = {} if self.token.secret is None else {"authorization": f"Bearer {self.token.secret}"}
        return {"host": f"localhost{port}", "content-type": "application/json", **token}

    def __str__(self) -> str:
        return str(self.address)


class _UnixConnection(HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(self.timeout)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            raise
        self.sock = made


def ask(door: AdminDoor, method: str, target: str, *, wish: object = None, seconds: float) -> tuple[int, Any]:
    """The status, and the body if it is JSON. Raises OSError, HTTPException, and ValueError for broken JSON.

    What can be done about a token that is refused is the last of the problems.
    """
    connection = door.connection(seconds)
    try:
        body = None if wish is None else json.dumps(wish)
        connection.request(method, target, body, door.headers())
        answer = connection.getresponse()
        data = answer.read()
        said = json.loads(data) if answer.headers.get_content_type() in _JSON else None
    finally:
        connection.close()
    if answer.status in (401, 403) and isinstance(said, dict):
        said["problems"] = [*problems_of(answer.status, said), door.token.remedy]
    return answer.status, said


def instruct(
    path: Path, target: str, *, seconds: float, signal: str | None = None, wish: object = None, method: str = "POST"
) -> tuple[bool, dict[str, Any]] | None:
    """A request to the node of these settings, a POST by default: whether it succeeded, and its response. Problems
    are printed; None: there is no response. `signal` does the same without an admin listener.
    """
    door = admin_of(path, signal)
    if door is None:
        return None
    try:
        status, said = ask(door, method, target, wish=wish, seconds=seconds)
    except (OSError, HTTPException, ValueError) as error:
        print(no_answer(door, error), file=sys.stderr)
        return None
    if not isinstance(said, dict):
        print(f"the server on {door} (admin.listen) is no Shield node", file=sys.stderr)
        return None
    done = 200 <= status < 300
    for problem in () if done else problems_of(status, said):
        print(problem, file=sys.stderr)
    return done, said


def no_answer(door: AdminDoor, error: Exception) -> str:
    """The line for a request that got no response from the node: the address, the reason, and the remedy."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    said = f"no node answers on {door} (admin.listen): {reason}"
    match error:
        case ConnectionRefusedError() | FileNotFoundError():
            return f"{said}; is the node running, with these settings?"
        case PermissionError():
            return f"{said}; run the command as a user who may open the socket (admin.socket_mode)"
        case TimeoutError():
            return f"{said}; the node hangs, or is overloaded: its log has more"
    return said


def problems_of(status: int, said: Any) -> list[str]:
    """The reasons of a refusal, a line each: of problem details, or of what a node of another version says."""
    told = said if isinstance(said, dict) else {}
    problems = told.get("problems")
    if isinstance(problems, list) and problems:
        return [str(problem) for problem in problems]
    return [str(told.get("detail") or told.get("error") or f"the node answers {status}")]


def admin_of(path: Path, signal: str | None = None) -> AdminDoor | None:
    """The node's admin listener; None after the reason was printed. Other problems of the settings are left to the
    node, which may have secrets that aren't here.
    """
    source = SettingsSource.of(path, os.environ, SECRET_DIRECTORIES)
    if isinstance(source.text, OSError):
        print(f"{path}: can't be read: {source.text.strerror}", file=sys.stderr)
        return None
    read = source.read()
    if read.unread:
        print("\n".join(lines(read.problems)), file=sys.stderr)
        return None
    found = glimpse(source)
    if found.admin is None:
        remedy = "" if signal is None else f"; send it {signal}"
        print(f"{path}: admin.listen is off, so the node can't be asked{remedy}", file=sys.stderr)
        return None
    return AdminDoor(found.admin, token_of(_own(found)))


def _own(found: Glimpse) -> list[OwnToken]:
    return [
        OwnToken(name, Role.of(token.role), token.secret, token.why)
        for name, token in found.tokens.items()
        if token.role.upper() in Role.__members__
    ]
