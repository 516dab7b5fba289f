"""Lines of access logs that are replayed."""

from __future__ import annotations

import json

from shield.rules.listed import SizeReader
from shield.rules.logged import LineKind, LogReader
from tests.fuzz.target import Target
from tests.fuzz.warmed import COMBINED, LOGGED


def check_lines(data: bytes) -> None:
    reader = LogReader()
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        found = reader.read(line)
        if found is None or found.kind in (LineKind.OTHER, LineKind.COMMENT):
            continue
        assert 0.0 <= found.at < 2e11 and found.target and b" " not in found.target
        assert 0 <= found.status < 600 and found.status not in (206, 304)
        assert -1 <= found.size < 1 << 50 and 0 <= found.sent < 1 << 50
        assert found.size < 0 or not found.is_head


def check_sizes(data: bytes) -> None:
    reader = SizeReader()
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        found = reader.read(line)
        assert found is None or (found.size >= 0 and isinstance(found.path, bytes))


TARGETS = {
    "replayed-lines": Target(
        check_lines,
        (
            json.dumps(LOGGED).encode(),
            COMBINED.encode(),
            b"#Fields: date time cs-method cs-uri-stem sc-status\n2026-01-01\t00:00:00\tGET\t/a\t200",
            json.dumps({"EdgeStartTimestamp": "2026-01-01T00:00:00Z", "ClientRequestURI": "/"}).encode(),
        ),
        (b'"status"', b'"time"', b'"url"', b"#Fields:", b"\t", b'"HEAD ', b" 206 ", b"-", b"1e999", b"NaN", b"+9999"),
    ),
    "listed-sizes": Target(
        check_sizes,
        (
            b"key,size\na/b,15",
            b'"bucket","a/b+c","15","2026"',
            b"2026-11-03 12:00:01       1500 a/b",
            b'    "Key": "a/b",\n    "Size": 15',
            b'{"key": "s1:/a", "bytes": 15, "ttl_seconds": 1}',
        ),
        (b'"Key": ', b'"Size": ', b"size", b"key", b"%zz", b"\xff", b"99999999999999999999"),
    ),
}
