"""shield reload: have the running node read its settings again."""

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

_SECONDS = 60.0  # longer than workers take to agree


def reload(path: Path) -> int:
    """Print what has become of it; 0, or 1 if it was refused or nobody could be asked."""
    said = asked(path, "/reload", seconds=_SECONDS)
    if said is None:
        return 1
    status, answer = said
    if status == 200:
        print(f"reloaded: settings of generation {answer['generation']} are in force")
        if answer["needs_restart"]:
            print(f"until a restart these stay as they were: {', '.join(answer['needs_restart'])}", file=sys.stderr)
        return 0
    for problem in answer.get("problems", [f"the node answers {status}"]):
        print(problem, file=sys.stderr)
    print("refused: the settings that the node has stay in force", file=sys.stderr)
    return 1


def asked(path: Path, target: str, *, seconds: float) -> tuple[int, dict[str, Any]] | None:
    """The node's answer to a POST to its admin listener; None: it was printed why there is none."""
    address = _admin(path)
    if address is None:
        return None
    try:
        return _asked(address, target, seconds)
    except (OSError, HTTPException, ValueError) as error:
        print(f"no node answers on {address} (admin.listen): {error}", file=sys.stderr)
        return None


def _admin(path: Path) -> ListenAddress | None:
    """Where the node is to be asked. Whatever else is wrong with the settings is for the node to say: it may have
    secrets that aren't here.
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
        print(f"{path}: admin.listen is off: no node can be asked; send it SIGHUP", file=sys.stderr)
    return admin


def _asked(address: ListenAddress, target: str, seconds: float) -> tuple[int, dict[str, Any]]:
    host = "127.0.0.1" if address.host == "0.0.0.0" else address.host
    connection = HTTPConnection("::1" if host == "::" else host, address.port, timeout=seconds)
    try:
        connection.request("POST", target, headers={"host": "localhost"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
    finally:
        connection.close()
    if not isinstance(body, dict):
        raise HTTPException("what answers is no node")
    return answer.status, body
