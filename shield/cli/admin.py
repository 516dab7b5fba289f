"""Requests to the admin listener of the running node."""

from __future__ import annotations

import json
import os
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from shield.config.glimpse import glimpse
from shield.config.loading import SECRET_DIRECTORIES, SettingsSource, lines
from shield.config.section import ListenAddress


def ask(address: ListenAddress, method: str, target: str, *, wish: object = None, seconds: float) -> tuple[int, Any]:
    """The status, and the body if it is JSON. Raises OSError, HTTPException, and ValueError for broken JSON."""
    connection = HTTPConnection(address.near, address.port, timeout=seconds)
    try:
        body = None if wish is None else json.dumps(wish)
        # Every admin listener accepts this name, whatever name it listens on.
        headers = {"host": f"localhost:{address.port}", "content-type": "application/json"}
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        is_json = answer.headers.get_content_type() in ("application/json", "application/problem+json")
        return answer.status, json.loads(data) if is_json else None
    finally:
        connection.close()


def instruct(
    path: Path, target: str, *, seconds: float, signal: str | None = None, wish: object = None, method: str = "POST"
) -> tuple[bool, dict[str, Any]] | None:
    """A request to the node of these settings, a POST by default: whether it succeeded, and its response. Problems
    are printed; None: there is no response. `signal` does the same without an admin listener.
    """
    address = admin_of(path, signal)
    if address is None:
        return None
    try:
        status, said = ask(address, method, target, wish=wish, seconds=seconds)
    except (OSError, HTTPException, ValueError) as error:
        print(f"no node answers on {address} (admin.listen): {error}", file=sys.stderr)
        return None
    if not isinstance(said, dict):
        print(f"the server on {address} (admin.listen) is no Shield node", file=sys.stderr)
        return None
    done = status == 200
    for problem in () if done else problems_of(status, said):
        print(problem, file=sys.stderr)
    return done, said


def problems_of(status: int, said: Any) -> list[str]:
    """The reasons of a refusal, a line each: of problem details, or of what a node of another version says."""
    told = said if isinstance(said, dict) else {}
    problems = told.get("problems")
    if isinstance(problems, list) and problems:
        return [str(problem) for problem in problems]
    return [str(told.get("detail") or told.get("error") or f"the node answers {status}")]


def admin_of(path: Path, signal: str | None = None) -> ListenAddress | None:
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
    admin = glimpse(source).admin
    if admin is None:
        remedy = "" if signal is None else f"; send it {signal}"
        print(f"{path}: admin.listen is off, so the node can't be asked{remedy}", file=sys.stderr)
    return admin
