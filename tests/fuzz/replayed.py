"""Lines of access logs that are replayed."""

from __future__ import annotations

import json

from shield.rules.logged import LineKind, LogReader
from tests.fuzz.target import Target
from tests.fuzz.warmed import COMBINED, LOGGED


def check_lines(data: bytes) -> None:
    reader = LogReader()
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        found = reader.read(line)
        if found is None or found.kind is LineKind.OTHER:
            continue
        assert 0.0 <= found.at < 2e11 and found.target and b" " not in found.target
        assert 0 <= found.status < 600 and found.status not in (206, 304)
        assert -1 <= found.size < 1 << 50 and 0 <= found.sent < 1 << 50
        assert found.size < 0 or not found.is_head


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
}
