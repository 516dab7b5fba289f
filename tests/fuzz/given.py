"""What people and their tools give: settings and the values in them, URLs, wishes for removal."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Coroutine, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import yaml as yaml_library

from shield.admin import removal
from shield.admin.problems import ProblemError
from shield.config import section, units
from shield.config.loading import load
from shield.config.places import Layer, Position, Tree, Value
from shield.config.units import ExpectedError
from shield.config.yaml_text import YamlText
from shield.errors import ConfigError, RequestError
from shield.rules import certificates
from shield.rules.summaries import HIDDEN, MOST, MOST_READ, summary_of
from shield.rules.tokens import AdminToken, AdminTokens, Role, TokenDenial
from shield.rules.written import WrittenError, prefixes_of, target_of
from tests.fuzz.target import Target
from tests.ground import DOCUMENTED, PLAIN

T = TypeVar("T")

SECRET = "hunter2secret"  # not to be told of in any problem
MAX_DEPTH = 16
SIZES = {
    f"{letter}{ending}": Fraction(base**power)
    for power, letter in enumerate("kmgt", start=1)
    for ending, base in (("ib", 1024), ("b", 1000))
} | {"b": Fraction(1), "": Fraction(1)}
DURATIONS = {
    unit: Fraction(seconds)
    for unit, seconds in {"ms": 0.001, "s": 1, "": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}.items()
}


def check_size(data: bytes) -> None:
    text = data.decode(errors="replace")
    for given in (text, _number(text)):
        try:
            count = units.parse_size(given)
        except ExpectedError as error:
            _says_nothing(error)
            continue
        assert count == _exactly(str(given), SIZES)
        assert 0 <= count <= 1 << 60
        assert units.parse_size(units.format_size(count)) == units.parse_size(count) == count


def check_duration(data: bytes) -> None:
    text = data.decode(errors="replace")
    for given in (text, _number(text)):
        try:
            seconds = units.parse_duration(given)
        except ExpectedError as error:
            _says_nothing(error)
            continue
        assert given != text or math.isclose(seconds, _exactly(text, DURATIONS), rel_tol=1e-12, abs_tol=1e-9)
        assert 0.0 <= seconds <= 3660 * 86400
        assert units.parse_duration(units.format_duration(seconds)) == units.parse_duration(seconds) == seconds


def _exactly(text: str, sizes: Mapping[str, Fraction]) -> Fraction:
    found = re.fullmatch("([0-9.]+) ?([A-Za-z]*)", text)
    assert found is not None
    return Fraction(found[1]) * sizes[found[2].lower()]


def _says_nothing(error: ExpectedError) -> None:
    """Of the value: it may be a secret in the wrong place."""
    assert str(error).startswith("expected ")
    assert SECRET not in str(error)


def _number(text: str) -> object:
    """As other sources than text give it."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def check_address(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        address = section.parse_address(text)
    except ExpectedError as error:
        _says_nothing(error)
        return
    assert 0 <= address.port <= 65535
    assert address.host
    assert section.parse_address(str(address)) == address
    assert isinstance(address.loopback, bool)


def check_endpoint(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        endpoint = section._endpoint(text)
    except ExpectedError as error:
        _says_nothing(error)
        return
    assert section._endpoint(endpoint) == endpoint
    assert endpoint.lower().startswith(("http://", "https://"))
    assert not {"@", "?", "#", " "} & set(endpoint)


def check_yaml(data: bytes) -> None:
    """All of a document that can be read, in text as it stands; problems hold none of it."""
    text = _text(data)
    if text is None:
        return
    for path in ((), ("access", "signed_urls", "keys")):
        yaml = YamlText(Layer.YAML, "shield.yaml")
        tree = Tree(Position(Layer.YAML, "shield.yaml"))
        for given in yaml.read(text, path):
            assert given.path[: len(path)] == path
            assert 0 < len(given.path) <= MAX_DEPTH + 1
            assert 0 < given.place.line <= 1 + len(text)
            _is_plain(given.value)
            tree.put(given)
        for problem in yaml.problems:
            assert SECRET not in problem.text
            assert problem.text.isprintable()
        if not (path or yaml.problems or "<<" in text or "!" in text):
            plain = yaml_library.load(text, Loader=yaml_library.BaseLoader)
            assert _without_nulls(tree.values) == _without_nulls(plain or {})


def _without_nulls(value: Value) -> Value:
    """What is null here is text to a loader that knows text only."""
    if isinstance(value, dict):
        return {key: _without_nulls(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return None if value in ("", "~", "null", "Null", "NULL") else value


def _is_plain(value: Value) -> None:
    if isinstance(value, dict):
        assert all(isinstance(key, str) for key in value)
        for inside in value.values():
            _is_plain(inside)
    elif isinstance(value, list):
        for item in value:
            _is_plain(item)
    else:
        assert value is None or isinstance(value, str)


def check_settings(data: bytes) -> None:
    """Settings that don't show their secrets, or problems that are said in a line each."""
    text = _text(data)
    if text is None or "_file" in text or "key:" in text.replace("secret_key", ""):
        return  # no files but this one
    file = os.memfd_create("settings")
    try:
        os.write(file, data)
        loaded = load(Path(f"/proc/self/fd/{file}"), environ={}, secret_directories=())
    except ConfigError as error:
        assert error.problems
        assert all(problem.isprintable() for problem in error.problems)
        return
    finally:
        os.close(file)
    assert list(loaded.settings.route_table())
    for origin in loaded.settings.origins.values():
        secret = origin.secret_key and origin.secret_key.get_secret_value()
        assert not secret or text.count(secret) > 1 or secret not in repr(loaded)


def _text(data: bytes) -> str | None:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _result(work: Coroutine[None, None, T]) -> T:
    """Of what waits for nothing but its next turn."""
    while True:
        try:
            work.send(None)
        except StopIteration as done:
            result: T = done.value
            return result


def check_wish(data: bytes) -> None:
    """Targets or a prefix, in ASCII."""
    try:
        paths, prefix = _result(removal._wish(data))
    except (ProblemError, WrittenError) as error:
        assert str(error).startswith("expected ")
        return
    except RequestError:
        return
    assert prefix is None or (not paths and all(b"/" in each and each.isascii() for each in prefixes_of(prefix)))
    assert all(path.isascii() for path in paths)


TOKENS = AdminTokens([AdminToken.of("a", Role.READ, "hunter2" * 3)])


def check_authorization(data: bytes) -> None:
    """Only the whole secret admits, and only as far as its role goes."""
    field = data.decode("latin-1")

    caller, denial = TOKENS.judge(field, Role.READ)
    assert (caller is None) is (denial is not None)
    assert caller is None or "hunter2" * 3 in field or field.strip().lower().startswith("basic ")
    assert TOKENS.judge(field, Role.PURGE)[1] is (denial or TokenDenial.ROLE)


def check_summary(data: bytes) -> None:
    """Of any body: short, plain, and without what is said to be secret."""
    text = json.dumps(summary_of(data))
    assert len(text) < 8 * MOST
    hidden = json.dumps({"secret": data.decode("latin-1"), "a": {"api_key": [data.decode("latin-1")]}})
    if len(hidden) <= MOST_READ:
        assert summary_of(hidden.encode()) == {"secret": HIDDEN, "a": {"api_key": HIDDEN}}


def check_url(data: bytes) -> None:
    """What a client sends for what a person types, in visible ASCII."""
    try:
        target = target_of(data.decode(errors="replace"))
    except RequestError:
        return

    assert all(0x20 < byte < 0x7F for byte in target)
    assert b"#" not in target
    if target.startswith(b"/") and b"://" not in target:
        assert target_of(target.decode()) == target


GOOD = """\
node: fra-1
origins:
  fra: {provider: aws, region: eu-central-1, bucket: abc, access_key_id: AKIA, secret_key: hunter2secret}
  web:
    provider: http
    endpoint: "http://127.0.0.1:81"
    role: replica
routes:
  all: {match: /}
  images: {match: /images, strip: /images, origins: [fra], query: {allow: [w, h]}, freshness: {default_lifetime: 1h}}
cache:
  memory: {capacity: 1GiB}
limits: {connections: 10, keep_alive: 30s}
"""
MERGES = "a: &a {b: 1, c: [2, ~, off]}\nd: {<<: *a, b: 010}\ne: {<<: [*a, *a], ? x : y}\nf: &f [*f]\n"
YAML_WORDS = tuple(
    b"a: ;: ;- ;[;];{;};,;&a ;*a;<<: ;~;null;off;!x ;!!str ;\";';#;%;---\n;...\n;|;|2\n;>-\n;? ;\\x;\\u00e9;\t"
    b";hunter2secret;<<;: ~;!;@;`".split(b";")
)
NUMBERS = (
    b"0",
    b"1",
    b"1.5",
    b"010",
    b"4096",
    b"99999999999999999999",
    b"0.001",
    b"1e3",
    b"-1",
    b"nan",
    b"inf",
    b"1_0",
)
CERTIFICATE = (
    b"-----BEGIN CERTIFICATE-----\n"
    b"MIIBIjCByaADAgECAhQdNgKbSpImj8oCjbrk7CVWxiQZSjAKBggqhkjOPQQDAjANMQswCQYDVQQKDAJjYTAeFw0yNjEwMDMw\n"
    b"MDAwMDBaFw0yNzAxMDEwMDAwMDBaMBYxFDASBgNVBAMMC2Nkbi5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n"
    b"WMoywDShF6yr7Dma0vjTan2eM7EKy4JqanapVFV7ZmVcQxiItU6BfXGZq75M/6pokZ/tjGqy1wDDNjaMOyYN2DAKBggqhkjO\n"
    b"PQQDAgNIADBFAiEAwBDxmxOokKh1MNdA3JQn4bQ9+rRB7QMQbsv88TWOrZECIBe8ZLR9mah5K65vfG7LYqT18IZNfizbG5K8\n"
    b"giRGSfED\n"
    b"-----END CERTIFICATE-----\n"
)  # until 2027-01-01


def check_certificate(data: bytes) -> None:
    expires = certificates.parse_expiry(data)

    assert expires is None or -3e11 < expires < 3e11  # years 1 to 9999
    assert certificates.parse_expiry(b"text\n" + data) == expires
    assert certificates.parse_key_algorithm(b"text\n" + data) == certificates.parse_key_algorithm(data)


TARGETS = {
    "certificate": Target(
        check_certificate,
        (CERTIFICATE, CERTIFICATE[:300] + b"\n-----END CERTIFICATE-----", b"-----BEGIN CERTIFICATE-----"),
        (b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----", b"MII", b"MIA", b"MP////8"),
    ),
    "size": Target(
        check_size,
        (
            *NUMBERS,
            b"256MiB",
            b"1.5 GiB",
            b"1tb",
            b"1048576TiB",
            b"0.5B",
            b"1KI",
            b"1 B",
            b"\xd9\xa11B",
            b"0." + b"9" * 30,
        ),
        (b"KiB", b"TB", b"b", b" ", b".", b"0", b"1", b"999", b"5", b"i", b"M"),
    ),
    "duration": Target(
        check_duration,
        (
            *NUMBERS,
            b"30s",
            b"250ms",
            b"10min",
            b"2h",
            b"7d",
            b"1.5s",
            b"3660d",
            b"0.1ms",
            b"1 h",
            b"1m",
            b"0.000000001h",
            b"0." + b"0" * 29 + b"1ms",
        ),
        (b"ms", b"min", b"m", b"s", b"h", b"d", b" ", b".", b"0", b"1", b"3", b"7"),
    ),
    "address": Target(
        check_address,
        (b"127.0.0.1:8080", b"[::1]:80", b":9180", b"cdn.example:065", b"[::1%1]:80", b"a_b:1", b"::1:80", b"[v6]:1"),
        (b":", b"[", b"]", b"::", b".", b"%", b"65536", b"0", b"localhost", b"-", b"_"),
    ),
    "endpoint": Target(
        check_endpoint,
        (
            b"http://127.0.0.1:9000",
            b"HTTPS://s3.example/base//",
            b"http://[::1]:80/",
            b"http://user:hunter2secret@x",
            b"http://[",
            b"http://x:99999",
            b"ftp://x",
            b"http://\xc3\xa4.example",
        ),
        (b"http://", b"https://", b":", b"/", b"[", b"]", b"::1", b"@", b"?", b"#", b"\\", b"%41", b"99999"),
    ),
    "yaml": Target(
        check_yaml,
        (
            GOOD.encode(),
            MERGES.encode(),
            b"a: 'hunter2secret\nb: *hunter2secret\n",
            b"a: !hunter2secret x\n? [b]\n: c\n1: 2\n1: 3\n",
            b"%TAG !hunter2secret! x\n---\na: !hunter2secret!y 1\n--- b",
            b"- a\n- b",
            b'\xef\xbb\xbfa: "\\xe9\\u20ac\\ud800"',
            b"a: {b: {c: {d: {e: {f: {g: {h: {i: {j: {k: {l: {m: {n: {o: {p: {q: {r: 1}}}}}}}}}}}}}}}}}",
            b"a: " + b"[" * 200,
            b"&a a: *a\nb: |2\n  x\nc: >+\n y\n\n",
            b'a: "\\UFFFFFFFF"',
            b'a: "\\U00110000"',
            b"%YAML 1." + b"1" * 5000 + b"\n---\na: 1",
        ),
        YAML_WORDS,
    ),
    "settings": Target(
        check_settings,
        (GOOD.encode(), PLAIN.encode(), DOCUMENTED.encode()),
        (*YAML_WORDS, b"fra", b"images", b"1GiB", b"/a", b"http://x", b"  ", b"\n", b"query: ", b"workers: 2\n"),
    ),
    "wish": Target(
        check_wish,
        (
            b'{"paths": ["/a", "/b?c=d"]}',
            b'{"prefix": "/images/"}',
            b'{"prefix": "s:/images"}',
            b'{"paths": ["\\u00e9", "\\ud800"]}',
            b'{"paths": [1]}',
            b'{"paths": [], "prefix": "/"}',
            b"{\x00}\x00",
            b"[]",
            b"1" * 5000,
            b"[" * 4096,
        ),
        (b'"paths": ', b'"prefix": ', b"[", b"]", b"{", b"}", b'"/a"', b",", b"\\u", b'"', b"null", b"1e9", b":/"),
    ),
    "authorization": Target(
        check_authorization,
        (
            b"Bearer hunter2hunter2hunter2",
            b"bearer  hunter2hunter2hunter2 ",
            b"Basic eDp5",
            b"Bearer \xe4",
            b"Bearer",
        ),
        (b"Bearer ", b"hunter2", b" ", b"\t", b","),
    ),
    "summary": Target(
        check_summary,
        (b'{"paths": ["/a?sign=b&key=c", "https://me:x@y/z"]}', b'[[[[[1]]]], NaN, 1e999, "\\ud800"]', b"1" * 500),
        (b'"token": ', b"[", b"]", b"{", b"}", b'"', b"://", b"@", b"?key=", b"\\u", b"1e9", b"NaN"),
    ),
    "url": Target(
        check_url,
        (
            b"https://cdn.example/a b?w=1#x",
            b"/a/\xc3\xa4?x=%20#y",
            b"//x/y",
            b"a?b://c",
            b"http://cdn.example?x",
            b"http:///a;b",
            b"http://[",
            b"http://[://::1]:80",
        ),
        (b"://", b"/", b"?", b"#", b"%", b" ", b"http", b":80", b"@", b"\n", b"\t"),
    ),
}
