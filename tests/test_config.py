"""Settings: accepted values, precedence of sources, error messages; and no secret is ever printed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shield.config.loading import load
from shield.config.section import ListenAddress, parse_address
from shield.config.units import (
    ExpectedError,
    format_duration,
    format_size,
    parse_duration,
    parse_share,
    parse_size,
)
from shield.rules.drill import DrillMode, DrillOrder
from shield.rules.freshness import FreshnessRules
from shield.rules.key import KeyRules
from shield.rules.limits import ClientLimits
from tests.ground import DOCUMENTED, PLAIN, SECRET, SIGNED, Ground


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


# what is accepted


@pytest.mark.parametrize("first", ["", "# yaml-language-server: $schema=shield.schema.json\n"])
def test_the_documented_file_is_accepted_as_it_stands(ground: Ground, first: str) -> None:
    loaded = ground.load(first + DOCUMENTED)

    settings = loaded.settings
    fra = settings.origins["fra"]
    assert (settings.node, settings.listen, settings.admin.listen) == (
        "fra-1",
        (("127.0.0.1", 8080),),
        ("127.0.0.1", 9180),
    )
    assert [(name, o.provider, o.role) for name, o in settings.origins.items()] == [
        ("fra", "ceph", "primary"),
        ("iad", "aws", "replica"),
    ]
    assert fra.secret_key is not None and fra.secret_key.get_secret_value() == "secretexample"
    assert settings.cache.memory.capacity == 256 << 20
    assert [route.origins for route in settings.route_table()] == [("fra", "iad")]
    assert loaded.notes == ()


def test_defaults_are_those_of_the_rooms_they_are_for(ground: Ground) -> None:
    settings = ground.settings(PLAIN)

    route = next(iter(settings.route_table()))
    limits = settings.limits
    assert route.freshness == FreshnessRules(surrogate=settings.node.encode())
    assert route.key == KeyRules(duplicate_slashes="keep", encoded_slash="keep", spelling="uri")
    (of_s3,) = ground.settings(SIGNED + "    access_key_id: a\n    secret_key: b\n").route_table()
    assert of_s3.key == KeyRules()
    assert ClientLimits() == ClientLimits(
        keep_alive_seconds=int(limits.keep_alive),
        head_seconds=int(limits.head),
        send_seconds=int(limits.send),
        max_connections=limits.connections,
        max_connections_per_address=limits.connections // 4,
        pipelined_bytes=limits.pipelined_bytes,
        max_head_bytes=limits.head_bytes,
        max_target_bytes=limits.target_bytes,
        max_fields=limits.fields,
    )


def test_settings_are_frozen(ground: Ground) -> None:
    settings = ground.settings(PLAIN)

    with pytest.raises(ValidationError):
        settings.node = "other"


@pytest.mark.parametrize("word", ["off", "false", "no", "null", "~", "Off"])
def test_the_admin_listener_can_be_switched_off(ground: Ground, word: str) -> None:
    assert ground.settings(f"{PLAIN}admin: {{listen: {word}}}").admin.listen is None


@pytest.mark.parametrize("word", ["off", "false", "'off'"])
def test_off_is_a_word_and_no_truth_value(ground: Ground, word: str) -> None:
    assert ground.settings(f"{PLAIN}access_log: {{format: {word}}}").access_log.format == "off"


def test_text_that_looks_like_a_number_stays_text(ground: Ground) -> None:
    settings = ground.settings(
        SIGNED.replace("bucket: b", "bucket: 0123\n    access_key_id: 010\n    secret_key: 1e3")
    )

    fra = settings.origins["fra"]
    assert fra.bucket == "0123"
    assert fra.access_key_id is not None and fra.access_key_id.get_secret_value() == "010"
    assert fra.secret_key is not None and fra.secret_key.get_secret_value() == "1e3"


def test_empty_sections_are_their_defaults(ground: Ground) -> None:
    assert ground.settings(f"{PLAIN}cache:\n  memory:\nlog:\n").cache.memory.capacity == 256 << 20


def test_anchors_and_merged_mappings_are_understood(ground: Ground) -> None:
    text = (
        "origins:\n"
        "  fra: &base {provider: http, endpoint: 'http://127.0.0.1:1', connections: 7}\n"
        "  iad: {<<: *base, connections: 8}\n"
    )

    settings = ground.settings(text)

    assert [(o.endpoint, o.connections) for o in settings.origins.values()] == [
        ("http://127.0.0.1:1", 7),
        ("http://127.0.0.1:1", 8),
    ]


def test_routes_take_over_what_they_dont_say_of_freshness(ground: Ground) -> None:
    text = PLAIN + ("freshness: {grace: 1s, keep: 2s}\nroutes:\n  a: {match: /a, freshness: {keep: 3s}}\n  b: {}\n")

    routes = {route.name: route.freshness for route in ground.settings(text).route_table()}

    assert (routes["a"].grace, routes["a"].keep) == (1.0, 3.0)
    assert (routes["b"].grace, routes["b"].keep) == (1.0, 2.0)


def test_paths_are_spelled_as_s3_wants_them_where_one_of_the_origins_is_s3(ground: Ground) -> None:
    keys = "    access_key_id: a\n    secret_key: b\n"
    mixed = SIGNED + keys + PLAIN.removeprefix("origins:\n").replace("fra", "web")
    text = mixed + "routes:\n  all: {}\n  web: {match: '/w:1', strip: '/w:1', add: '/x//y', origins: [web]}\n"

    routes = {route.name: route for route in ground.settings(text).route_table()}

    assert routes["all"].key == KeyRules()
    assert routes["web"].key.spelling == "uri"
    assert routes["web"].prefix == b"/w:1"
    assert ground.problems(mixed + "routes:\n  all: {match: '/w:1'}\n") == [
        "shield.yaml:12: routes.all.match: /w:1: expected a canonical path, e.g. /images"
    ]


def test_an_endpoint_may_have_the_roots_dot_and_only_one(ground: Ground) -> None:
    (origin,) = ground.settings(PLAIN.replace("127.0.0.1", "s3.example.com.")).origins.values()

    assert (origin.location().name, origin.location().authority) == ("s3.example.com.", b"s3.example.com:5001")
    (problem,) = ground.problems(PLAIN.replace("127.0.0.1", "s3.example.com.."))
    assert "endpoint" in problem and "a host" in problem


def test_a_slash_and_its_escape_are_one_to_s3(ground: Ground) -> None:
    text = SIGNED + "    access_key_id: a\n    secret_key: b\nroutes:\n  all: {encoded_slash: keep}\n"

    assert ground.problems(text) == [
        "shield.yaml:9: routes.all.encoded_slash: fra is an S3 origin, to which %2F is /; expected decode or reject"
    ]


@pytest.mark.parametrize(
    ("said", "allow"), [("[OPTIONS, GET]", b"OPTIONS, GET"), ("GET", b"GET"), ("[GET, GET, HEAD]", b"GET, HEAD")]
)
def test_a_route_answers_the_methods_that_it_names(ground: Ground, said: str, allow: bytes) -> None:
    (route,) = ground.load(PLAIN + f"routes: {{default: {{methods: {said}}}}}\n").settings.route_table()

    assert route.allow == allow
    assert route.particular is (b"HEAD" not in allow)


def test_a_route_to_some_origins_has_a_key_space_of_its_own(ground: Ground) -> None:
    text = (
        PLAIN
        + "  iad: {provider: http, endpoint: 'http://127.0.0.1:2'}\n"
        + "routes: {all: {}, a: {match: /a, origins: [iad]}}\n"
    )

    spaces = {route.name: (route.space, route.origins) for route in ground.settings(text).route_table()}

    assert spaces == {"all": (b"", ("fra", "iad")), "a": (b"iad", ("iad",))}


# units


@given(st.integers(0, 1 << 60))
def test_sizes_survive_being_written_and_read(count: int) -> None:
    assert parse_size(format_size(count)) == count
    assert parse_size(str(count)) == count == parse_size(count)


@given(st.floats(0.0, 3e8).map(lambda seconds: round(seconds, 9)))  # nothing is finer than a nanosecond
def test_durations_survive_being_written_and_read(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds == parse_duration(seconds)


@given(st.text(max_size=12))
def test_any_text_is_a_value_or_says_what_was_expected(text: str) -> None:
    for parse in (parse_size, parse_duration, parse_address):
        try:
            parse(text)
        except ExpectedError as error:
            assert str(error).startswith("expected ")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("10GiB", 10 << 30),
        ("256MiB", 256 << 20),
        ("1GB", 10**9),
        ("512KB", 512_000),
        ("4096", 4096),
        ("1.5 kib", 1536),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("250ms", 0.25),
        ("10m", 600),
        ("10min", 600),
        ("2h", 7200),
        ("7d", 604800),
        ("1.5s", 1.5),
        ("3", 3),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["", "-1", "1e3", "1 parsec", "inf", "nan", True, None, [1], "1.5.2s", "9" * 30, -1]
)
def test_what_is_no_size_and_no_duration(value: object) -> None:
    with pytest.raises(ExpectedError):
        parse_size(value)
    with pytest.raises(ExpectedError):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [("[::1]:80", ("::1", 80)), (":8080", ("0.0.0.0", 8080)), ("localhost:0", ("localhost", 0))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


# who wins


def test_variables_win_over_the_file_and_secret_files_over_both(ground: Ground) -> None:
    text = SIGNED + "    access_key_id: fromyaml\n    secret_key: fromyaml\n    session_token: fromyaml\n"
    ground.secret("shield_origins__fra__secret_key", "fromfile\n")

    loaded = ground.load(
        text, SHIELD_ORIGINS__FRA__ACCESS_KEY_ID="fromenv", SHIELD_ORIGINS__FRA__SECRET_KEY="fromenv"
    )

    fra = loaded.settings.origins["fra"]
    secrets = [fra.access_key_id, fra.secret_key, fra.session_token]
    assert [s.get_secret_value() for s in secrets if s] == ["fromenv", "fromfile", "fromyaml"]
    assert loaded.secrets == {
        ("origins", "fra", "access_key_id"): "SHIELD_ORIGINS__FRA__ACCESS_KEY_ID",
        ("origins", "fra", "secret_key"): str(ground.shared / "shield_origins__fra__secret_key"),
        ("origins", "fra", "session_token"): f"{ground.file}:8",
    }


def test_the_credentials_directory_wins_over_shared_secrets(ground: Ground) -> None:
    ground.secret("shield_node", "shared")
    ground.secret("shield_node", "own", own=True)

    assert ground.settings(PLAIN).node == "own"


def test_everything_can_come_from_the_environment(ground: Ground) -> None:
    environ = {
        "SHIELD_LISTEN": "[::1]:8080",
        "SHIELD_ORIGINS": "{fra: {provider: http, endpoint: 'http://127.0.0.1:1'}}",
        "SHIELD_ORIGINS__US_EAST__PROVIDER": "http",
        "SHIELD_ORIGINS__US_EAST__ENDPOINT": "http://127.0.0.1:2",
        "SHIELD_ROUTES__DEFAULT__ORIGINS": '["us-east"]',
        "SHIELD_CACHE__MEMORY__CAPACITY": "1GiB",
        "SHIELD_ACCESS_LOG__FORMAT": "off",
    }

    settings = load(None, environ=environ, secret_directories=[ground.shared]).settings

    assert settings.listen == (ListenAddress("::1", 8080),)
    assert list(settings.origins) == ["fra", "us-east"]
    assert settings.routes["default"].origins == ("us-east",)
    assert (settings.cache.memory.capacity, settings.access_log.format) == (1 << 30, "off")


@pytest.mark.parametrize("as_variable", [False, True])
def test_files_that_are_named_hold_secrets(ground: Ground, as_variable: bool) -> None:
    key_file = ground.secret("fra_key", SECRET + "\n", own=True)  # counts as read there, under any name
    (ground.file.parent / "id").write_text("AK")
    text = SIGNED + "    access_key_id_file: id\n"
    environ = {"SHIELD_ORIGINS__FRA__SECRET_KEY_FILE": str(key_file)} if as_variable else {}

    loaded = ground.load(text if as_variable else f"{text}    secret_key_file: {key_file}\n", **environ)

    fra = loaded.settings.origins["fra"]
    assert fra.secret_key is not None and fra.secret_key.get_secret_value() == SECRET
    assert fra.access_key_id is not None and fra.access_key_id.get_secret_value() == "AK"
    assert loaded.secrets["origins", "fra", "secret_key"] == str(key_file)


def test_a_variable_wins_over_a_file_that_yaml_names(ground: Ground) -> None:
    text = SIGNED + "    access_key_id: AK\n    secret_key_file: missing\n"

    loaded = ground.load(text, SHIELD_ORIGINS__FRA__SECRET_KEY="fromenv")

    assert loaded.secrets["origins", "fra", "secret_key"] == "SHIELD_ORIGINS__FRA__SECRET_KEY"


# what is wrong, and where

HERE = "shield.yaml"
CASES: Mapping[str, tuple[str, list[str]]] = {
    "canaries that name no object": (
        PLAIN + "probes: {canaries: [/a.webp, images/b.webp, /]}\n",
        [
            f"{HERE}:5: probes.canaries[1]: not-a-path: expected the path or URL of an object, as *",
            f"{HERE}:5: probes.canaries[2]: no-object-key: *",
        ],
    ),
    "a health path that is none": (
        PLAIN + "health: {path: '/a?b'}\n",
        [f"{HERE}:5: health.path: *expected a path as /.shield/health, without a query"],
    ),
    "requirements for it without rules": (
        PLAIN + "health: {path: /h, access: [header]}\n",
        [f"{HERE}:5: health.access: there is no `access` section; expected its rules there"],
    ),
    "probes without a pause": (
        PLAIN + "probes: {interval: 100ms}\n",
        [f'{HERE}:5: probes.interval: got "100ms"; expected at least 1s'],
    ),
    "unknown key": (PLAIN + "listn: x\n", [f'{HERE}:5: listn: unknown key; did you mean "listen"?']),
    "a key of an earlier version": (
        PLAIN + "log: {access: all}\n",
        [f"{HERE}:5: log.access: moved to access_log: format: off for none, hits: 1 for all requests"],
    ),
    "unknown key, nothing like it": (
        PLAIN + "drain: {zzz: 1}\n",
        [f"{HERE}:5: drain.zzz: unknown key; expected one of delay timeout"],
    ),
    "bad choice": (
        PLAIN.replace("provider: http", "provider: htp"),
        [
            f"{HERE}:2: origins.fra.access_key_id: no credentials; *",
            f"{HERE}:2: origins.fra.secret_key: no credentials; expected secret_key or secret_key_file here, "
            "the variable SHIELD_ORIGINS__FRA__SECRET_KEY, or a secret file shield_origins__fra__secret_key",
            f'{HERE}:3: origins.fra.provider: got "htp"; expected one of aws gcs r2 b2 wasabi minio ceph swift http; '
            'did you mean "http"?',
        ],
    ),
    "bad size": (
        PLAIN + "cache: {memory: {capacity: 1 GiBB}}\n",
        [f'{HERE}:5: cache.memory.capacity: got "1 GiBB"; expected a size: bytes, or a number with KiB MiB *'],
    ),
    "bad duration": (
        PLAIN + "drain:\n  delay: 1 parsec\n",
        [f'{HERE}:6: drain.delay: got "1 parsec"; expected a duration: seconds, or a number with ms s m *'],
    ),
    "out of bounds": (
        PLAIN + "limits: {head: 10ms, head_bytes: 1, connections: 0}\n",
        [
            f'{HERE}:5: limits.connections: got "0"; expected at least 1',
            f'{HERE}:5: limits.head: got "10ms"; expected at least 1s',
            f'{HERE}:5: limits.head_bytes: got "1"; expected at least 1KiB',
        ],
    ),
    "no number, no truth value": (
        PLAIN + "    connections: many\n    access_denied_is_absent: perhaps\n",
        [
            f'{HERE}:5: origins.fra.connections: got "many"; expected a whole number',
            f'{HERE}:6: origins.fra.access_denied_is_absent: got "perhaps"; expected true or false',
        ],
    ),
    "an item of a list": (
        PLAIN + "listen:\n  - 127.0.0.1:80\n  - nowhere\n",
        [f'{HERE}:7: listen[1]: got "nowhere"; expected host:port, [v6]:port or :port, as 127.0.0.1:8080'],
    ),
    "methods of a route": (
        PLAIN + "routes: {a: {methods: [HEAD]}, b: {match: /b, methods: [GET, POST]}}\n",
        [
            f"{HERE}:5: routes.a.methods: got a list; expected GET among them, as [GET, HEAD, OPTIONS]",
            f'{HERE}:5: routes.b.methods[1]: got "POST"; expected one of GET HEAD OPTIONS',
        ],
    ),
    "a list, a mapping, nothing": (
        PLAIN + "node: [a]\nlog: {level: {a: b}}\ndrain: 30s\nlisten:\n",
        [
            f"{HERE}:5: node: got a list; expected text",
            f"{HERE}:6: log.level: got a mapping; expected one of debug info warning error",
            f"{HERE}:7: drain: expected a mapping of keys to values",
            f"{HERE}:8: listen: got nothing; *",
        ],
    ),
    "duplicate key": (
        PLAIN + "    provider: aws\n",
        [f"{HERE}:5: origins.fra.provider: given twice, first in line 3"],
    ),
    "a tab": (PLAIN + "\tlisten: x\n", [f"{HERE}:*: not YAML: a tab, where YAML wants spaces"]),
    "no YAML": (PLAIN + "  listen: [a\n", [f"{HERE}:*: not YAML: while parsing a flow sequence, expected *"]),
    "no mapping": ("- a\n", [f"{HERE}:1: expected a mapping of keys to values"]),
    "a tag": (
        PLAIN + "node: !secret x\n",
        [f"{HERE}:5: node: expected a plain value, without a tag", "*got nothing*"],
    ),
    "a cycle": (PLAIN + "log: &a {b: *a}\n", ["*too many values, or nested too deep", "*log.b: unknown key*"]),
    "empty": ("", [f"{HERE}: origins: missing; expected a mapping of keys to values"]),
    "no origins": ("origins: {}\n", [f"{HERE}:1: origins: got a mapping; expected one at least"]),
    "names": (
        PLAIN.replace("fra", "FRA") + "routes: {a_b: {}}\n",
        [
            f"{HERE}:2: origins.FRA: expected a name of lower case letters, digits and hyphens, 63 at most",
            f"{HERE}:5: routes.a_b: expected a name of lower case letters, digits and hyphens, 63 at most",
        ],
    ),
    "unknown origin": (
        PLAIN + "routes: {a: {origins: [fra, frb, fra]}}\n",
        [
            f'{HERE}:5: routes.a.origins[1]: got "frb"; expected one of fra; did you mean "fra"?',
            f'{HERE}:5: routes.a.origins[2]: "fra" is listed twice',
        ],
    ),
    "two primaries": (
        PLAIN + "    role: primary\n  iad: {provider: http, endpoint: 'http://127.0.0.1:1', role: primary}\n",
        [f"{HERE}:6: origins.iad.role: fra is primary already; expected one primary at most"],
    ),
    "no bucket": (
        SIGNED.replace("bucket: b", "access_key_id: a\n    secret_key: b"),
        [f"{HERE}:2: origins.fra.bucket: expected the bucket's name"],
    ),
    "no endpoint, no region": (
        "origins:\n  fra: {provider: r2, bucket: b, access_key_id: a, secret_key: b}\n"
        "  iad: {provider: aws, bucket: b, access_key_id: a, secret_key: b}\n",
        [
            f"{HERE}:2: origins.fra.endpoint: expected a URL, r2 has no default",
            f"{HERE}:3: origins.iad.region: expected one, aws has no default",
        ],
    ),
    "endpoint with a path": (
        SIGNED.replace("5001", "5001/path") + "    access_key_id: a\n    secret_key: b\n",
        [f'{HERE}:4: origins.fra.endpoint: got "http://127.0.0.1:5001/path"; expected no path: only provider http *'],
    ),
    "what only web servers have": (
        SIGNED + "    access_key_id: a\n    secret_key: b\n    lenient_heads: true\n    pass_errors: yes\n",
        [
            f"{HERE}:8: origins.fra.lenient_heads: expected provider http: *",
            f"{HERE}:9: origins.fra.pass_errors: expected provider http: *",
        ],
    ),
    "endpoint without scheme": (
        PLAIN.replace("http://", ""),
        [f'{HERE}:4: origins.fra.endpoint: got "127.0.0.1:5001"; expected http:// or https:// and a host, *'],
    ),
    "no such authorities": (
        PLAIN + "    ca_file: ca.pem\n",
        [f'{HERE}:5: origins.fra.ca_file: got "ca.pem"; expected a file that can be read'],
    ),
    "forbidden queries": (
        PLAIN + "routes: {a: {query: {allow: [w, acl, X-Amz-Date]}}}\n",
        [
            f"{HERE}:5: routes.a.query.allow: X-Amz-Date: storage APIs honour it, it can't be passed on",
            f"{HERE}:5: routes.a.query.allow: acl: storage APIs honour it, it can't be passed on",
        ],
    ),
    "prefixes": (
        PLAIN + "routes:\n  a: {match: /a/../b}\n  b: {match: /c}\n  c: {match: /c/}\n  d: {match: /d, strip: /e}\n",
        [
            f"{HERE}:6: routes.a.match: /a/../b: expected a canonical path, e.g. /images",
            f"{HERE}:8: routes.c.match: routes c and b: both have the prefix *",
            f"{HERE}:9: routes.d.strip: /e: expected prefix /d to lie below it",
        ],
    ),
    "listeners": (
        PLAIN + "listen: [':80', ':81', ':80']\nadmin: {listen: ':81'}\naccess: off\n",
        [
            f"{HERE}:5: listen[2]: 0.0.0.0:80 is listed twice",
            f"{HERE}:6: admin.listen: 0.0.0.0:81 is an address for clients already; expected another",
            f"{HERE}:6: admin.listen: 0.0.0.0:81 can be reached from elsewhere; expected admin.tokens, too: *",
        ],
    ),
    "value and file": (
        SIGNED + "    access_key_id: a\n    secret_key: b\n    secret_key_file: c\n",
        [f"{HERE}:8: origins.fra.secret_key_file: secret_key is given too; expected one of the two"],
    ),
    "file that isn't there": (
        SIGNED + "    access_key_id: a\n    secret_key_file: c\n",
        [f"{HERE}:7: origins.fra.secret_key_file: the file can't be read: No such file or directory"],
    ),
}


def matches(pattern: str, line: str) -> bool:
    """`*` is anything."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), line) is not None


@pytest.mark.parametrize("case", CASES)
def test_a_problem_names_file_line_key_and_what_was_expected(ground: Ground, case: str) -> None:
    text, expected = CASES[case]

    found = ground.problems(text)

    assert len(found) == len(expected), found
    for pattern, line in zip(expected, found, strict=True):
        assert matches(pattern, line), (pattern, line)


# drills


@pytest.mark.parametrize(
    ("text", "share"), [("0.1%", 0.001), ("10 %", 0.1), ("100%", 1.0), ("0.25", 0.25), ("0", 0.0), ("1", 1.0)]
)
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("value", ["", "-1", "101%", "1.1", "10 percent", "nan", True, None, [1], "%"])
def test_what_is_no_share(value: object) -> None:
    with pytest.raises(ExpectedError, match="expected a share"):
        parse_share(value)


def test_a_drill_of_each_night_is_configured_by_its_time(ground: Ground) -> None:
    assert ground.settings(PLAIN).drills is None

    drills = ground.settings(f'{PLAIN}drills: {{at: "03:30", scope: 1%, mode: 5xx}}\n').drills

    assert drills is not None
    assert (drills.at, drills.order()) == (
        12_600.0,
        DrillOrder("", DrillMode.SERVER, 60.0, 0.01, 0.001, is_nightly=True),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "drills.at"),
        ("{at: 330}", 'expected a time of the day in UTC, in quotes, as "03:30"'),
        ('{at: "24:00"}', "expected a time of the day in UTC"),
        ('{at: "03:30", lasts: 2h}', "drills.lasts"),
        ('{at: "03:30", scope: 0%}', "drills.scope"),
        ('{at: "03:30", mode: fast}', "drills.mode"),
        ('{at: "03:30", origins: [lhr]}', 'drills.origins[0]: got "lhr"; expected one of fra'),
    ],
)
def test_drills_that_cant_be_are_named(ground: Ground, text: str, said: str) -> None:
    (problem,) = ground.problems(f"{PLAIN}drills: {text}\n")

    assert said in problem


def test_a_start_neither_reads_other_packages_metadata_nor_makes_validators_that_nobody_uses() -> None:
    code = (
        "import sys; from shield.config.settings import Settings;"
        "print('importlib.metadata' in sys.modules, Settings.__pydantic_complete__)"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.split() == ["False", "False"]
