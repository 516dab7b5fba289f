"""Lines of the access log, as JSON or in the combined format of Apache and nginx with fields of ours behind it.

A record maps names in `FIELDS` to values; fields that don't apply to a request are missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from shield.rules.dates import MONTHS

LogValue = str | int | float | bool
LogRecord = Mapping[str, LogValue]

FIELDS = (
    *("time", "client", "method", "target", "protocol", "status", "bytes", "seconds", "first_byte"),
    *("cache", "reason", "forward_status", "ttl", "detail", "origin", "attempts", "route", "tier", "stored"),
    *("broken", "range", "request_id", "host", "referer", "user_agent", "key"),
)
"""All names, in the order of lines."""

USUAL = tuple([name for name in FIELDS if name not in ("host", "referer", "user_agent", "key")])
"""The fields of lines of JSON, unless others are chosen."""

BEHIND_COMBINED = (
    *("cache", "reason", "origin", "attempts", "route", "tier", "first_byte", "seconds", "request_id"),
)
"""The fields behind lines in the combined format, unless others are chosen."""

_encoded = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would make one each time
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # in quotes: quotes, backslashes, and all but printable ASCII


def json_line(record: LogRecord, names: Sequence[str]) -> str:
    """One object with those of these fields that the record has."""
    return _encoded({name: record[name] for name in names if name in record})


def combined_line(record: LogRecord, names: Sequence[str]) -> str:
    """The combined format, and then `name=value` for each of these fields; "-" for one that doesn't apply.

    As nginx does, quotes, backslashes and bytes beyond ASCII are written as `\\xHH`. The time is UTC.
    """
    request = " ".join(
        [str(record.get("method", "-")), str(record["target"]), str(record.get("protocol", "HTTP/1.1"))]
    )
    return " ".join(
        [
            f"{record.get('client') or '-'} - - [{_moment(int(record['time']))}]",
            f'"{_safe(request)}" {record["status"]} {record["bytes"]}',
            f'"{_safe(str(record.get("referer", "-")))}" "{_safe(str(record.get("user_agent", "-")))}"',
            *[f"{name}={_value(record.get(name))}" for name in names],
        ]
    )


@lru_cache(maxsize=16)
def _moment(seconds: int) -> str:
    """As `10/Oct/2000:13:55:36 +0000`."""
    at = datetime.fromtimestamp(seconds, UTC)
    return at.strftime(f"%d/{MONTHS[at.month - 1].decode()}/%Y:%H:%M:%S +0000")


def _value(value: LogValue | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        is_plain = value not in ("", "-") and " " not in value and not _UNSAFE.search(value)
        return value if is_plain else f'"{_safe(value)}"'
    return str(value)


def _safe(text: str) -> str:
    return _UNSAFE.sub(_escaped, text) if _UNSAFE.search(text) else text


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02X}" for byte in found[0].encode("utf-8", "replace"))
