"""Requests in access logs, for replays: of this node, nginx, Apache, Caddy, CloudFront, Cloudflare and Fastly.

Lines are JSON, in the common or combined format, or CloudFront's, whose fields are tab-separated. A CDN's log has
requests that the CDN answered from its own cache, too: a line that says so is told apart.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from shield.rules import ranges
from shield.rules.dates import MONTHS


class LineKind(Enum):
    """What a line tells of."""

    OBJECT = "object"  # a GET or HEAD of an object
    ANSWERED = "answered"  # the same, and the cache in front answered it: it went no further
    OTHER = "other"  # another method, or an answer of the server's own
    COMMENT = "comment"  # no request, by the format's own rules


class LoggedPart(NamedTuple):
    """What a request wanted of an object that not all of was sent, and how much it got.

    `start` is a byte; `UNKNOWN`, or `SUFFIX`: the last bytes were wanted. `stop` is where the range ends; -1: at the
    object's end, or unknown. `sent` are bytes of the body; -1: the line doesn't tell.
    """

    start: int
    stop: int
    sent: int

    @property
    def least(self) -> int:
        """Bytes that the object has at least."""
        if self.sent < 0:
            return max(self.stop, self.start, 0)
        return max(self.start, 0) + self.sent


UNKNOWN, SUFFIX = -1, -2


class LoggedRequest(NamedTuple):
    """One line. `size` is that of the object; -1: the line doesn't tell, as for 304, 206 and HEAD. `sent` are bytes
    of the body, as far as known. `status` is that of the object: 200 where the line has that of a condition or part.
    `part` is None for one that wanted the whole and got it, as far as the line tells.
    """

    kind: LineKind
    at: float  # epoch seconds
    target: bytes
    status: int
    size: int
    sent: int
    is_head: bool
    part: LoggedPart | None = None


_OTHER = LoggedRequest(LineKind.OTHER, 0.0, b"", 0, -1, 0, False)
_COMMENT = _OTHER._replace(kind=LineKind.COMMENT)

_METHODS = ("method", "request_method", "ClientRequestMethod", "cs-method")
_TARGETS = ("target", "request_uri", "uri", "url", "ClientRequestURI", "path", "cs-uri-stem")
_STATUSES = ("status", "response_status", "EdgeResponseStatus", "sc-status")
_TIMES = ("time", "ts", "msec", "EdgeStartTimestamp", "timestamp", "@timestamp", "time_iso8601", "time_local")
_SIZES = (
    *("bytes", "body_bytes_sent", "response_body_size", "size", "EdgeResponseBodyBytes", "EdgeResponseBytes"),
    *("sc-content-len", "bytes_sent"),
)
_RESULTS = (
    *("upstream_cache_status", "CacheCacheStatus", "response_state", "fastly_info.state", "cache_status"),
    "x-edge-result-type",
)
_RANGES = ("range", "http_range", "sent_http_content_range")
_OWN = frozenset({"refused", "options", "health", "purge"})  # of this node's log: no object was looked up
_NEVER_WENT_ON = ("hit", "originshieldhit", "synth", "redirect", "functiongenerated", "updating")
_WENT_ON = ("hitpass", "hit-for-")  # Fastly and Varnish know that it isn't to be cached

_PARTIAL = frozenset({0, 206, 304, 412, 416, 499})
"""Statuses of conditions, parts and clients that left: the object exists, and its size isn't that of the body."""

_combined = re.compile(
    r'\[([^\]]{1,64})\] "(?:([A-Z]{1,32}) (\S{1,16384})(?: HTTP/[0-9.]{1,3})?|[^"]{0,16384})" ([0-9]{3}) ([0-9]+|-)'
).search

_CLOUDFRONT = (
    *("date", "time", "x-edge-location", "sc-bytes", "c-ip", "cs-method", "cs(Host)", "cs-uri-stem", "sc-status"),
    *("cs(Referer)", "cs(User-Agent)", "cs-uri-query", "cs(Cookie)", "x-edge-result-type", "x-edge-request-id"),
    *("x-host-header", "cs-protocol", "cs-bytes", "time-taken", "x-forwarded-for", "ssl-protocol", "ssl-cipher"),
    *("x-edge-response-result-type", "cs-protocol-version", "fle-status", "fle-encrypted-fields", "c-port"),
    *("time-to-first-byte", "x-edge-detailed-result-type", "sc-content-type", "sc-content-len", "sc-range-start"),
    "sc-range-end",
)


_syslog = re.compile(r"(?:<[0-9]{1,3}>|[A-Z][a-z]{2} |[0-9]{4}-)[^{]{0,300}: (?=\{)").match
_escape = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\]))')  # by nginx and Apache, of bytes that would be ambiguous
_own_result = re.compile(r'" cache=([a-z]+) ').search  # behind a line in this node's combined format
_own_range = re.compile(r" range=(bytes=[0-9,-]{1,200})(?: |$)").search
_content_range = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/(?:[0-9]+|\*)").fullmatch


LOG_FIELDS = frozenset(
    {
        *_METHODS,
        *_TARGETS,
        *_STATUSES,
        *_TIMES,
        *_SIZES,
        *_RESULTS,
        *_RANGES,
        "sc-range-start",
        "sc-range-end",
        "request",
        "date",
        "cs-uri-query",
        "cache",
        "broken",
    }
)
"""All fields that are looked at, to read no others of wide tables."""


class LogReader:
    """Reads the lines of one file, which may be of any of these formats, each on its own."""

    def __init__(self) -> None:
        self._columns: Sequence[str] = _CLOUDFRONT

    def read(self, line: str) -> LoggedRequest | None:
        """The request of a line; None if it is none that can be read. Lines of comments count as `OTHER`."""
        line = line.strip(" \r\n")
        if line.startswith("{"):
            return self._of_json(line)
        found = _combined(line)
        if found is not None:
            at = _moment(found[1])
            if at is None:
                return None
            if found[2] is None:
                return _OTHER  # no request could be read
            own = _own_result(line, found.end())
            if own is not None and own[1] in _OWN:
                return _OTHER
            target = found[3] if "\\" not in found[3] else _unescaped(found[3])
            made = _request(found[2], target, int(found[4]), at, found[5], "")
            asked = None if own is None else _own_range(line, found.end())
            return _in_part(made, int(found[4]), None if asked is None else asked[1])
        if line.startswith("#"):
            if line.startswith("#Fields:"):
                self._columns = line[8:].split()
            return _COMMENT
        if "\t" in line:
            return self.read_fields(self._named(line))
        prefix = _syslog(line)
        return None if prefix is None else self._of_json(line[prefix.end() :])

    def trouble(self, line: str) -> str:
        """What is wrong with a line in which `read` finds no request, for people."""
        line = line.strip(" \r\n")
        prefix, found = _syslog(line), _combined(line)
        if line.startswith("{") or prefix is not None:
            try:
                said = json.loads(line if prefix is None else line[prefix.end() :])
            except (ValueError, RecursionError):
                return "no JSON object that ends on its line"
            return trouble_of(said)
        if found is not None:
            is_time = _moment(found[1]) is None
            return f"no time that is understood: {found[1]}" if is_time else "no target or status of a request"
        return trouble_of(self._named(line)) if "\t" in line else "of no known format"

    def _of_json(self, text: str) -> LoggedRequest | None:
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return self.read_fields(said)

    def _named(self, line: str) -> dict[str, str]:
        return dict(zip(self._columns, line.split("\t"), strict=False))

    def read_fields(self, said: Any) -> LoggedRequest | None:
        """The request of named fields, as of JSON or a table."""
        return _of_fields(said)


def trouble_of(said: Any) -> str:
    """What is wrong with named fields that tell of no request, for people."""
    if not isinstance(said, dict):
        return "no JSON object"
    inner = said.get("request")
    fields = {**inner, **said} if isinstance(inner, dict) else said
    for what, names in (("target", _TARGETS), ("status", _STATUSES)):
        if _first(fields, names) is None:
            return f"no {what}: expected one of the fields {', '.join(names)}"
    if "cs-uri-stem" not in fields:
        if _first(fields, _TIMES) is None:
            return f"no time: expected one of the fields {', '.join(_TIMES)}"
        if _epoch(_first(fields, _TIMES)) is None:
            return f"no time that is understood: {str(_first(fields, _TIMES))[:60]}"
    return "a target, status or time that isn't one"


def _of_fields(said: Any) -> LoggedRequest | None:
    if not isinstance(said, dict):
        return None
    inner = said.get("request")
    if isinstance(inner, dict):
        said = {**inner, **said}
    target, status = _first(said, _TARGETS), _first(said, _STATUSES)
    if not isinstance(target, str):
        return None
    if "cs-uri-stem" in said:
        query = said.get("cs-uri-query")
        target += "" if query in (None, "-", "") else f"?{query}"
        moment: Any = f"{said.get('date')}T{said.get('time')}Z"
    else:
        moment = _first(said, _TIMES)
    at = _epoch(moment)
    if isinstance(status, float) and status.is_integer():  # tables with gaps have no whole numbers
        status = int(status)
    if isinstance(status, bool) or not isinstance(status, int | str) or at is None:
        return None
    if not (isinstance(status, int) or (status.isascii() and status.isdigit() and len(status) < 4)):
        return None
    if said.get("cache") in _OWN and "target" in said:
        return _OTHER
    is_own = "target" in said and "cache" in said
    is_broken, sent = said.get("broken") is True and "target" in said, _first(said, _SIZES)
    made = _request(
        _first(said, _METHODS) or "GET", target, int(status), at, "-" if is_broken else sent, _first(said, _RESULTS)
    )
    if is_broken and made is not None and made.kind is LineKind.OBJECT and int(status) == 200:
        return made._replace(part=LoggedPart(0, -1, _count(sent)))
    if is_broken and made is not None:
        made = made._replace(sent=max(_count(sent), 0))
    return _in_part(made, int(status), _range_of(said), is_sure=is_own and not is_broken)


def _range_of(said: Mapping[str, Any]) -> str | None:
    """The value of Range, or what amounts to it."""
    found = _first(said, _RANGES)
    headers = said.get("headers")
    if found is None and isinstance(headers, dict):  # Caddy's
        found = headers.get("Range")
        found = found[0] if isinstance(found, list) and found else None
    if found is None and "sc-range-start" in said:
        first, last = str(said["sc-range-start"]), str(said.get("sc-range-end"))
        found = f"bytes={first}-{last if last.isdigit() else ''}" if first.isdigit() else None
    if not isinstance(found, str):
        return None
    content = _content_range(found)
    return found if content is None else f"bytes={content[1]}-{content[2]}"


def _in_part(
    made: LoggedRequest | None, status: int, asked: str | None, *, is_sure: bool = False
) -> LoggedRequest | None:
    """The request with its part, if it got one. `is_sure`: the line would say if the body had broken off."""
    if made is None or status != 206 or made.is_head or made.kind is LineKind.OTHER:
        return made
    parsed = None if asked is None else ranges.parse_range(asked.encode("ascii", "replace"))
    if parsed is None or len(parsed) != 1:
        return made._replace(part=LoggedPart(UNKNOWN, -1, made.sent))
    only = parsed[0]
    if only.first is None:
        return made._replace(part=LoggedPart(SUFFIX, -1, made.sent))
    stop = -1 if only.last is None else only.last + 1
    is_to_end = is_sure and made.sent > 0 and (stop < 0 or made.sent < stop - only.first)
    size = only.first + made.sent if is_to_end else -1
    return made._replace(part=LoggedPart(only.first, stop, made.sent), size=size)


def _first(said: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        value = said.get(name)
        if value is not None:
            return value
    return None


def _request(method: Any, target: str, status: int, at: float, sent: Any, result: Any) -> LoggedRequest | None:
    if method not in ("GET", "HEAD"):
        return _OTHER
    if not 0 <= status < 600:
        return None
    if not target.startswith("/") and "://" in target[:10]:
        target = "/" + target.partition("://")[2].partition("/")[2]
    if not target or " " in target:
        return None  # cut off
    try:
        path = target.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None  # JSON may have half a character, which no bytes mean
    size, is_head = _count(sent), method == "HEAD"
    word = result.lower() if isinstance(result, str) else ""
    is_before = word.startswith(_NEVER_WENT_ON) and not word.startswith(_WENT_ON)
    kind = LineKind.ANSWERED if is_before else LineKind.OBJECT
    is_partial = status in _PARTIAL
    return LoggedRequest(
        kind,
        at,
        path,
        200 if is_partial else status,
        -1 if is_partial or is_head else size,
        max(size, 0),
        is_head,
    )


def _unescaped(target: str) -> str:
    """As the client sent it."""

    def meant(found: re.Match[bytes]) -> bytes:
        return bytes([int(found[1], 16)]) if found[1] else found[2]

    written = target.encode("utf-8", "surrogateescape")
    return _escape.sub(meant, written).decode("utf-8", "surrogateescape")


def _count(said: Any) -> int:
    """Bytes; -1 if it isn't said."""
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 16:
        return int(said)
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < 1 << 50 else -1


def _epoch(said: Any) -> float | None:
    """Epoch seconds of a number (of seconds, milliseconds or nanoseconds) or of a text."""
    if isinstance(said, str):
        return _moment(said)
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said < 1 << 63:
        return None
    for above, each in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        if said > above:
            return said / each
    return float(said)


_apache = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})").fullmatch
_MONTH = {name.decode(): number for number, name in enumerate(MONTHS, 1)}


@lru_cache(maxsize=64)
def _moment(text: str) -> float | None:
    """Of `10/Oct/2000:13:55:36 +0000`, ISO 8601 (UTC if it names no zone), or a number."""
    found = _apache(text)
    try:
        if found is not None:
            day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
            when = datetime(int(year), _MONTH[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
            zone = int(zone_hours) * 3600 + int(zone_minutes) * 60
            at = when.timestamp() - (zone if sign == "+" else -zone)
            return at if at >= 0 else None
        if len(text) < 32 and re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            number = float(text)
            return _epoch(number) if math.isfinite(number) else None
        when = datetime.fromisoformat(text)
        at = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
        return at if at >= 0 else None
    except (ValueError, KeyError, OverflowError):
        return None
