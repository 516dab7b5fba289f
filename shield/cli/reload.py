"""shield reload: have the running node read its settings again."""

from __future__ import annotations

import json
import os
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from shield.config.loading import SECRET_DIRECTORIES, SettingsSource, lines
from shield.config.section import ListenAddress, parse_address
from shield.config.settings import AdminSettings
from shield.config.units import ExpectedError

_SECONDS = 60.0  # longer than workers take to agree


def reload(path: Path) -> int:
    """Print what has become of it; 0, or 1 if it was refused or nobody could be asked."""
    address = _admin(path)
    if address is None:
        return 1
    try:
        status, answer = _asked(address)
    except (OSError, HTTPException, ValueError) as error:
        print(f"no node answers on {address} (admin.listen): {error}", file=sys.stderr)
        return 1
    if status == 200:
        print(f"reloaded: settings of generation {answer['generation']} are in force")
        if answer["needs_restart"]:
            print(f"until a restart these stay as they were: {', '.join(answer['needs_restart'])}", file=sys.stderr)
        return 0
    for problem in answer.get("problems", [f"the node answers {status}"]):
        print(problem, file=sys.stderr)
    print("refused: the settings that the node has stay in force", file=sys.stderr)
    return 1


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
    given = read.tree.get(("admin", "listen"))
    try:
        return parse_address(AdminSettings().listen if given is None else given)
    except ExpectedError as error:
        print(f"{path}: admin.listen: {error}; without it no node can be asked", file=sys.stderr)
        return None


def _asked(address: ListenAddress) -> tuple[int, dict[str, list[str]]]:
    host = "127.0.0.1" if address.host == "0.0.0.0" else address.host
    connection = HTTPConnection("::1" if host == "::" else host, address.port, timeout=_SECONDS)
    try:
        connection.request("POST", "/reload", headers={"host": "localhost"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
    finally:
        connection.close()
    if not isinstance(body, dict):
        raise HTTPException("what answers is no node")
    return answer.status, body
