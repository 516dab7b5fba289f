"""Warming: objects fetched before clients request them. Orders for it as they are written, targets in access logs,
and how fast to go on. Pure.

A fetch for warming is an ordinary one whose reader isn't a client: the mark in its request says so, and where misses
wait for a place at an origin, it comes after all that clients wait for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from shield.messages import Field
from shield.rules.written import WrittenError

MARK = b":warm"
"""In `Request.notable` of a request for warming. No field of a client has this name."""

MOST_URLS = 1000
"""URLs in one order: an answer is kept in memory."""

MOST_AT_ONCE = 64
"""Fetches of one order at once: origins must bear them beside those of clients."""

AT_ONCE = 8

_EXPECTED = 'expected {"urls": ["/a", ...]}, with "only_missing", "concurrency", "max_bytes" or "fields" as needed'
_is_name = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}").fullmatch
_is_value = re.compile(r"[\t -~]{0,4096}").fullmatch


class WarmResult(Enum):
    """The outcome for a URL; the value is the word in answers and metrics."""

    WARMED = "warmed"  # fetched and stored
    PRESENT = "present"  # stored already
    ABSENT = "absent"  # origins have no such object
    UNKEPT = "unkept"  # fetched, but it may not or can't be stored
    FAILED = "failed"
    DEFERRED = "deferred"  # not even tried, or given up for the budget: it may be ordered again


@dataclass(frozen=True, slots=True)
class WarmOrder:
    """URLs to warm, at most `at_once` at a time and `max_bytes` from origins in all.

    `fields` are request fields, by which responses may vary. `only_missing`: stale entries do.
    """

    urls: tuple[str, ...]
    only_missing: bool = False
    at_once: int = AT_ONCE
    max_bytes: float = math.inf
    fields: tuple[Field, ...] = ()


def parse_order(said: Any) -> WarmOrder:
    """An order as JSON. Raises WrittenError."""
    known = {"urls", "only_missing", "concurrency", "max_bytes", "fields"}
    if not isinstance(said, dict) or not said.keys() <= known:
        raise WrittenError(_EXPECTED)
    urls, only, at_once = said.get("urls"), said.get("only_missing", False), said.get("concurrency", AT_ONCE)
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) and url for url in urls):
        raise WrittenError(f"urls: {_EXPECTED}")
    if len(urls) > MOST_URLS:
        raise WrittenError(f"urls: got {len(urls)}; expected {MOST_URLS} at most in one order")
    if not isinstance(only, bool):
        raise WrittenError("only_missing: expected true or false")
    if not _is_count(at_once) or not 1 <= at_once <= MOST_AT_ONCE:
        raise WrittenError(f"concurrency: expected a number from 1 to {MOST_AT_ONCE}")
    most = said.get("max_bytes")
    if most is not None and (not _is_count(most) or most < 0):
        raise WrittenError("max_bytes: expected a number of bytes")
    return WarmOrder(tuple(urls), only, at_once, math.inf if most is None else most, _fields(said.get("fields", {})))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _fields(said: object) -> tuple[Field, ...]:
    if not isinstance(said, dict):
        raise WrittenError('fields: expected names and values, as {"accept": "image/webp"}')
    found = []
    for name, value in said.items():
        if not _is_name(name) or not isinstance(value, str) or not _is_value(value):
            raise WrittenError(f"fields: {name[:100]!r}: expected a field's name, and a value in printable ASCII")
        if name.lower() in ("host", "range", "connection", "content-length", "transfer-encoding"):
            raise WrittenError(f"fields: {name[:100]!r} has no place here; expected fields by which responses vary")
        found.append((name.lower().encode(), value.strip(" \t").encode()))
    return tuple(found)


# access logs

# "GET /a HTTP/1.1" 200, as in the common and combined formats and their relatives.
_combined = re.compile(r'"(GET|HEAD) (\S{1,16384}) HTTP/[0-9.]{1,3}" ([0-9]{3})(?= |$)').search
_NAMES = ("target", "url", "uri", "request_uri", "path")


def logged_target(line: str) -> str | None:
    """The target of a line of an access log, if it is a GET or HEAD that was answered with an object; else None.

    Lines are JSON, as this node's, nginx's or Caddy's, or in the combined format.
    """
    line = line.strip()
    if line.startswith("{"):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return _logged(said) if isinstance(said, dict) else None
    found = _combined(line)
    return found[2] if found is not None and _is_object(int(found[3])) else None


def _logged(said: Mapping[str, Any]) -> str | None:
    inner = said.get("request")
    asked = {**inner, **said} if isinstance(inner, dict) else said
    method, status = asked.get("method", asked.get("request_method", "GET")), asked.get("status")
    target: str | None = next((asked[name] for name in _NAMES if isinstance(asked.get(name), str)), None)
    try:
        is_object = not isinstance(status, bool) and isinstance(status, int | str) and _is_object(int(status))
    except ValueError:
        is_object = False
    # A target that the log has cut off shows by a blank.
    if target is None or not target or " " in target or method not in ("GET", "HEAD") or not is_object:
        return None
    return target


def _is_object(status: int) -> bool:
    return 200 <= status < 300 or status == 304


def popular(lines: Iterable[str], most: int | None = None) -> tuple[list[str], int]:
    """The targets of an access log, the most requested first, at most so many; and the number of lines without one.

    Those that were requested equally often are in the order of their names, so that the list is the same each time.
    """
    counts: dict[str, int] = {}
    without = 0
    for line in lines:
        if not line.strip():
            continue
        target = logged_target(line)
        if target is None:
            without += 1
        else:
            counts[target] = counts.get(target, 0) + 1
    order = sorted(counts, key=lambda target: (-counts[target], target))
    return order[:most], without


@dataclass(frozen=True, slots=True)
class WarmSpeed:
    """At most so many objects and bytes of origins in a second; None: as fast as origins give them."""

    objects: float | None = None
    bytes: float | None = None

    def batch(self, most: int) -> int:
        """URLs to order at once, so that the pace shows within a second or two."""
        return most if self.objects is None else max(1, min(most, math.ceil(self.objects)))

    def pause(self, objects: int, size: int, passed: float) -> float:
        """Seconds to wait after so many objects and bytes, which took so long."""
        least = max(
            0.0 if self.objects is None else objects / self.objects, 0.0 if self.bytes is None else size / self.bytes
        )
        return max(0.0, least - passed)
