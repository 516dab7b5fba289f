from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shield.rules.log_lines import BEHIND_COMBINED, FIELDS, USUAL, LogValue, combined_line, json_line
from tests.depth import tries

MISS: dict[str, LogValue] = {
    "time": 971186136.7,
    "client": "192.0.2.1",
    "method": "GET",
    "target": "/a.webp",
    "status": 200,
    "bytes": 2326,
    "seconds": 0.25,
    "first_byte": 0.125,
    "cache": "miss",
    "reason": "uri-miss",
    "origin": "fra",
    "stored": True,
    "referer": "https://example.net/",
    "user_agent": 'curl "7"',
}

# As log analysers read it: the expression for "combined" of several of them.
COMBINED = re.compile(
    r'(?P<client>\S+) (?P<ident>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>[^"]*)" '
    r'(?P<status>\d{3}) (?P<bytes>\d+|-) "(?P<referer>[^"]*)" "(?P<user_agent>[^"]*)"(?P<rest>.*)'
)
PAIR = re.compile(r' ([a-z_]+)=("[^"]*"|\S+)')


def unescaped(text: str) -> str:
    return re.sub(rb"\\x([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), text.encode()).decode()


def test_the_combined_format_has_our_fields_behind_it() -> None:
    assert combined_line(MISS, ["cache", "reason", "origin", "tier", "first_byte", "stored"]) == (
        '192.0.2.1 - - [10/Oct/2000:13:55:36 +0000] "GET /a.webp HTTP/1.1" 200 2326 "https://example.net/" '
        '"curl \\x227\\x22" cache=miss reason=uri-miss origin=fra tier=- first_byte=0.125 stored=true'
    )


def test_json_has_the_chosen_fields_that_apply_in_their_order() -> None:
    line = json_line(MISS, ["status", "tier", "client", "stored"])

    assert list(json.loads(line).items()) == [("status", 200), ("client", "192.0.2.1"), ("stored", True)]


def test_what_is_usual_names_no_person_beyond_the_address() -> None:
    assert set(FIELDS) - set(USUAL) == {"host", "referer", "user_agent", "key"}
    assert set(BEHIND_COMBINED) < set(FIELDS)


texts = st.text(st.characters(codec="utf-8"), max_size=40)


@settings(max_examples=tries(150))
@given(target=texts, referer=texts, agent=texts, detail=texts, status=st.integers(100, 599))
def test_whatever_a_client_sends_is_read_back_from_its_own_place(
    target: str, referer: str, agent: str, detail: str, status: int
) -> None:
    record: dict[str, Any] = {**MISS, "target": target, "referer": referer, "user_agent": agent}
    record |= {"detail": detail, "status": status}

    line = combined_line(record, ["detail", "cache"])

    found = COMBINED.fullmatch(line)
    assert found is not None and line.isprintable()
    assert unescaped(found["request"]) == f"GET {target} HTTP/1.1"
    assert (unescaped(found["referer"]), unescaped(found["user_agent"])) == (referer, agent)
    assert found["status"] == str(status)
    pairs = dict(PAIR.findall(found["rest"]))
    assert list(pairs) == ["detail", "cache"] and pairs["cache"] == "miss"
    assert unescaped(pairs["detail"].strip('"')) == detail
