"""Summaries of requests' bodies, for the audit log: short, and without secrets. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

MOST_READ = 64 * 1024
"""Bytes of a larger body aren't read as JSON: that would take long."""

MOST = 1000
"""Characters of a summary as JSON, about."""

HIDDEN = "***"

_LONGEST = 100  # characters of a text
_MOST_ITEMS = 5
_MOST_KEYS = 20
_DEEPEST = 3

_is_secret = re.compile(
    r"secret|token|passw|signature|credential|authori[sz]|cookie|subscribeurl|(?:api|access|private)_?-?key", re.I
).search
_user = re.compile(r"(://)[^/@?#]*@")
_parameter = re.compile(r"([?&;][^=&;#]*(?:secret|token|passw|sign|sig|credential|key)[^=&;#]*=)[^&;#]*", re.I)


def summary_of(body: bytes) -> Any:
    """Plain values: what a body says, cut to a size for people; None if it is empty.

    Values of keys that sound like secrets are hidden, and so are users and signatures in URLs.
    """
    if not body.strip():
        return None
    if len(body) > MOST_READ:
        return {"bytes": len(body), "begins": discreet(body[: 2 * _LONGEST].decode("utf-8", "replace"))}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return discreet(body[: 2 * _LONGEST].decode("utf-8", "replace"))
    short = _short(value, _DEEPEST)
    text = json.dumps(short)
    return short if len(text) <= MOST else f"{text[:MOST]}..."


def discreet(text: str) -> str:
    """A text cut to its length, on one line, without the secrets of a URL."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    text = _parameter.sub(rf"\1{HIDDEN}", _user.sub(rf"\1{HIDDEN}@", text))
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _short(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return discreet(value)
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return "a large number"
    if isinstance(value, float) and value - value != 0.0:
        return str(value)
    if not isinstance(value, dict | list):
        return value
    if not depth:
        return "..."
    if isinstance(value, list):
        more = [f"... ({len(value)})"] if len(value) > _MOST_ITEMS else []
        return [*[_short(each, depth - 1) for each in value[:_MOST_ITEMS]], *more]
    found = {
        discreet(key): HIDDEN if _is_secret(key) else _short(each, depth - 1)
        for key, each in list(value.items())[:_MOST_KEYS]
    }
    return {**found, "...": len(value)} if len(value) > _MOST_KEYS else found
