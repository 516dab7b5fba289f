"""Lines of access logs, of this node and of others, become requests."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.log_lines import BEHIND_COMBINED, USUAL, LogValue, combined_line, json_line
from shield.rules.logged import SUFFIX, UNKNOWN, LineKind, LoggedPart, LoggedRequest, LogReader

AT = 1_764_424_800.0  # 2025-11-29T14:00:00Z


def read(*lines: str) -> LoggedRequest | None:
    reader, found = LogReader(), None
    for line in lines:
        found = reader.read(line)
    return found


def told(
    target: str = "/a?w=1", status: int = 200, size: int = 3, *, sent: int = 3, part: LoggedPart | None = None
) -> LoggedRequest:
    return LoggedRequest(LineKind.OBJECT, AT, target.encode(), status, size, sent, False, part)


JSON_LINES: dict[str, dict[str, object]] = {
    "nginx": {
        "time_iso8601": "2025-11-29T15:00:00+01:00",
        "request_method": "GET",
        "request_uri": "/a?w=1",
        "status": "200",
        "body_bytes_sent": "3",
        "upstream_cache_status": "MISS",
    },
    "caddy": {"ts": AT, "request": {"method": "GET", "uri": "/a?w=1"}, "status": 200, "size": 3},
    "cloudflare": {
        "ClientRequestMethod": "GET",
        "ClientRequestURI": "/a?w=1",
        "EdgeStartTimestamp": int(AT) * 10**9,
        "EdgeResponseStatus": 200,
        "EdgeResponseBodyBytes": 3,
        "EdgeResponseBytes": 500,
        "CacheCacheStatus": "expired",
    },
    "fastly": {
        "timestamp": "2025-11-29T14:00:00+0000",
        "url": "/a?w=1",
        "request_method": "GET",
        "response_status": 200,
        "response_body_size": 3,
        "response_state": "MISS-CLUSTER",
    },
}


@pytest.mark.parametrize("name", JSON_LINES)
def test_json_of_others_names_its_fields_differently(name: str) -> None:
    assert read(json.dumps(JSON_LINES[name])) == told()


@pytest.mark.parametrize(
    ("name", "field", "word"),
    [
        ("nginx", "upstream_cache_status", "HIT"),
        ("cloudflare", "CacheCacheStatus", "hit"),
        ("fastly", "response_state", "HIT-STALE-CLUSTER"),
        ("fastly", "response_state", "SYNTH"),
        ("nginx", "upstream_cache_status", "UPDATING"),  # while somebody else's request goes on
    ],
)
def test_what_the_cache_in_front_answered_is_told_apart(name: str, field: str, word: str) -> None:
    found = read(json.dumps(JSON_LINES[name] | {field: word}))

    assert found == told()._replace(kind=LineKind.ANSWERED)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('1.2.3.4 - - [29/Nov/2025:15:00:00 +0100] "GET /a?w=1 HTTP/1.1" 200 3 "-" "curl/8"', told()),
        ('1.2.3.4 - bob [29/Nov/2025:14:00:00 +0000] "GET /a?w=1 HTTP/2.0" 200 3', told()),
        ('- - - [29/Nov/2025:08:30:00 -0530] "GET http://b.example/a?w=1 HTTP/1.1" 200 3', told()),
        ('- - - [29/Nov/2025:14:00:00 +0000] "GET /a?w=1 HTTP/1.1" 304 0 "-" "x"', told(size=-1, sent=0)),
        (
            '- - - [29/Nov/2025:14:00:00 +0000] "GET /a?w=1 HTTP/1.1" 206 3 "-" "x"',
            told(size=-1, part=LoggedPart(UNKNOWN, -1, 3)),
        ),
        ('- - - [29/Nov/2025:14:00:00 +0000] "GET /a?w=1 HTTP/1.1" 404 3 "-" "x"', told(status=404)),
        ('- - - [29/Nov/2025:14:00:00 +0000] "GET /a?w=1 HTTP/1.1" 200 - "-" "x"', told(size=-1, sent=0)),
        (r'::1 - - [29/Nov/2025:14:00:00 +0000] "GET /\xC3\xA4\x22\\ö\"%5C HTTP/1.1" 200 3', told('/ä"\\ö"%5C')),
    ],
)
def test_the_combined_format(line: str, expected: LoggedRequest) -> None:
    assert read(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        '- - - [29/Nov/2025:14:00:00 +0000] "POST /a HTTP/1.1" 200 3 "-" "x"',
        '- - - [29/Nov/2025:14:00:00 +0000] "\\x16\\x03" 400 3 "-" "x"',
        '- - - [29/Nov/2025:14:00:00 +0000] "GET /a HTTP/1.1" 400 3 "-" "x" cache=refused reason=bad-path',
        json.dumps({"time": AT, "method": "GET", "target": "/live", "status": 200, "bytes": 2, "cache": "health"}),
        json.dumps({"time": AT, "method": "PURGE", "target": "/a", "status": 200, "bytes": 2, "cache": "purge"}),
    ],
)
def test_requests_for_no_object_are_others(line: str) -> None:
    found = read(line)

    assert found is not None and found.kind is LineKind.OTHER


def test_comments_are_no_requests_at_all() -> None:
    found = read("#Version: 1.0")

    assert found is not None and found.kind is LineKind.COMMENT


def test_what_a_cache_knows_not_to_keep_goes_on() -> None:
    assert read(json.dumps(JSON_LINES["fastly"] | {"response_state": "HITPASS"})) == told()


def test_tables_with_gaps_have_no_whole_numbers_and_fields_without_a_value() -> None:
    gaps = {"method": None, "EdgeResponseBodyBytes": None, "EdgeResponseStatus": 200.0, "EdgeResponseBytes": 3.0}

    assert read(json.dumps(JSON_LINES["cloudflare"] | gaps)) == told()


@pytest.mark.parametrize(
    "prefix", ["<134>2025-11-29T14:00:00Z cache-fra1 s3log[1234]: ", "Nov 29 14:00:00 edge-1 nginx: "]
)
def test_what_syslog_writes_before_json_is_no_part_of_it(prefix: str) -> None:
    assert read(prefix + json.dumps(JSON_LINES["fastly"])) == told()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        "{",
        "[]",
        '{"target": "/a", "status": true, "time": 1}',
        '{"target": "/a", "status": 200}',
        '{"target": "/a", "status": 200, "time": NaN}',
        '{"target": "/aaa [200 more]", "status": 200, "time": 1}',
        '{"target": "/\\ud800", "status": 200, "time": 1}',  # half a character
        '- - - [99/Nov/2025:14:00:00 +0000] "GET /a HTTP/1.1" 200 3',
        "a\tb",
        "<134>1 no JSON: {",
    ],
)
def test_other_lines_are_unreadable(line: str) -> None:
    assert read(line) is None
    assert LogReader().trouble(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hello", "of no known format"),
        ('{"target": "/a"', "no JSON object that ends on its line"),
        ('{"status": 200, "time": 1}', "no target: expected one of the fields target, request_uri,"),
        ('{"target": "/a", "time": 1}', "no status: expected one of the fields status,"),
        ('{"target": "/a", "status": 200}', "no time: expected one of the fields time,"),
        ('{"target": "/a", "status": 200, "time": "noon"}', "no time that is understood: noon"),
        ('- - - [99/Nov/2025:14:00:00 +0000] "GET /a HTTP/1.1" 200 3', "no time that is understood: 99/Nov"),
        ("2025-11-29\t14:00:00", "no target: expected one of the fields"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(line: str, said: str) -> None:
    assert LogReader().trouble(line).startswith(said)


def test_cloudfront_names_its_columns_and_tells_what_it_answered() -> None:
    fields = (
        "#Fields: date time sc-bytes cs-method cs-uri-stem sc-status cs-uri-query x-edge-result-type sc-content-len"
    )
    row = "2025-11-29\t14:00:00\t412\tGET\t/a\t200\tw=1\t{}\t3"

    assert read("#Version: 1.0", fields, row.format("Miss")) == told()
    assert read(fields, row.format("RefreshHit")) == told()
    assert read(fields, row.format("Hit")) == told()._replace(kind=LineKind.ANSWERED)


def test_cloudfront_without_a_head_has_its_usual_columns() -> None:
    row = ["-"] * 33
    row[0], row[1], row[5], row[7], row[8], row[13], row[30] = (
        "2025-11-29",
        "14:00:00",
        "GET",
        "/a",
        "200",
        "Miss",
        "3",
    )

    assert read("\t".join(row)) == told("/a")


RECORD: dict[str, LogValue] = {
    "time": AT,
    "client": "192.0.2.1",
    "method": "GET",
    "target": "/a?w=1",
    "status": 200,
    "bytes": 3,
    "seconds": 0.1,
    "cache": "miss",
}


def test_this_node_writes_what_is_read() -> None:
    assert read(json_line(RECORD, USUAL)) == told()
    assert read(combined_line(RECORD, BEHIND_COMBINED)) == told()


def test_a_body_that_broke_off_does_not_tell_its_size() -> None:
    assert read(json_line(RECORD | {"broken": True}, (*USUAL, "broken"))) == told(
        size=-1, sent=0, part=LoggedPart(0, -1, 3)
    )


@given(
    status=st.integers(200, 599),
    size=st.integers(0, 1 << 45),
    target=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\'), max_size=50),
)
def test_both_styles_of_this_node_tell_the_same(status: int, size: int, target: str) -> None:
    record = RECORD | {"status": status, "bytes": size, "target": f"/{target}"}

    assert read(json_line(record, USUAL)) == read(combined_line(record, BEHIND_COMBINED))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"range": "bytes=5-7"}, (LoggedPart(5, 8, 3), -1)),
        ({"range": "bytes=5-99"}, (LoggedPart(5, 100, 3), 8)),  # it ended with the object
        ({"range": "bytes=5-"}, (LoggedPart(5, -1, 3), 8)),
        ({"range": "bytes=5-", "broken": True}, (LoggedPart(5, -1, 3), -1)),
        ({"range": "bytes=-3"}, (LoggedPart(SUFFIX, -1, 3), -1)),
        ({"range": "bytes=0-0,5-6"}, (LoggedPart(UNKNOWN, -1, 3), -1)),
        ({"range": "pages=1"}, (LoggedPart(UNKNOWN, -1, 3), -1)),
    ],
)
def test_a_part_is_told_by_the_range_that_was_asked_for(
    said: dict[str, object], expected: tuple[LoggedPart, int]
) -> None:
    found = read(json.dumps({"time": AT, "target": "/a", "status": 206, "bytes": 3, "cache": "hit", **said}))

    assert found is not None and (found.part, found.size) == expected


def test_logs_of_others_tell_parts_in_their_own_ways() -> None:
    nginx = JSON_LINES["nginx"] | {"status": "206"}
    caddy = {**JSON_LINES["caddy"], "status": 206}
    caddy["request"] = {"method": "GET", "uri": "/a?w=1", "headers": {"Range": ["bytes=5-"]}}
    names = "date time cs-method cs-uri-stem sc-status sc-content-len sc-range-start sc-range-end"
    cloudfront = ["2025-11-29", "14:00:00", "GET", "/a?w=1", "206", "3", "5", "7"]

    parts = [
        read(json.dumps(nginx | {"http_range": "bytes=5-7"})),
        read(json.dumps(nginx | {"sent_http_content_range": "bytes 5-7/100"})),
        read(json.dumps(caddy)),
        read(f"#Fields: {names}", "\t".join(cloudfront)),
        read(combined_line(RECORD | {"status": 206, "range": "bytes=5-7"}, ("cache", "range"))),
    ]

    assert [None if each is None else each.part for each in parts] == [
        *[LoggedPart(5, 8, 3)] * 2,
        LoggedPart(5, -1, 3),  # it may have broken off
        *[LoggedPart(5, 8, 3)] * 2,
    ]
