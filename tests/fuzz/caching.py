"""What is said on caching: directives, lifetimes, conditions, what answers vary by, tags and digests."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import get_args

from shield.messages import Request, ResponseHead
from shield.rules import cache_control, conditional, digests, freshness, hidden, tags, targeted, vary
from shield.rules.cache_control import MAX_SECONDS, CacheControl
from shield.rules.digests import Sending
from shield.rules.freshness import FreshnessRules
from shield.rules.structured import Item, parse_dictionary
from shield.rules.vary import Forwarding
from tests.fuzz.target import Target, fields_in, parts

NOW = 1_750_000_000.0
PLATFORM = Forwarding(
    frozenset({b"accept", b"accept-encoding", b"x-a", b"cookie"}),
    types=(b"image/avif", b"image/webp", b"image/jpeg"),
    codings=(b"br", b"gzip"),
)
LENIENT = FreshnessRules(targeted=(targeted.CDN, targeted.SURROGATE), default_lifetime=None, heuristic_fraction=0.1)
STRICT = FreshnessRules(invalid_age="stale", honour_field_names=True, surrogate=b"fra-1")
NEVER = {b"host", b"range", b"connection", b"content-length", b"if-none-match", b"x-original-url"}
TAG_FIELDS = (b"surrogate-key", b"xkey", b"cache-tag", b"edge-cache-tag", b"cache-groups", b"x-tags")
LENGTH_OF = {"sha-512": 64, "sha-256": 32, "md5": 16}

_is_token = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch


def check_cache_control(data: bytes) -> None:
    found = cache_control.parse([data])

    _is_within_bounds(found)
    assert cache_control.parse([data, b"no-store"]).no_store
    assert cache_control.parse([data, b"max-age=0"]).max_age == 0
    assert cache_control.parse([b"min-fresh=99999999999", data]).min_fresh in (MAX_SECONDS, None)
    assert cache_control.parse([data.swapcase()]) == found
    if b'"' not in data:
        lines = data.split(b",")
        assert cache_control.parse(lines) == found
        assert _unordered(cache_control.parse(lines[::-1])) == _unordered(found)


def check_targeted(data: bytes) -> None:
    found = targeted.parse(data)

    if found is not None:
        _is_within_bounds(found)
        stricter = targeted.parse(data + b", no-store, max-age=0")
        assert stricter is not None
        assert (stricter.no_store, stricter.max_age) == (True, 0)
    _governs(targeted.CDN, data, found)


def check_surrogate(data: bytes) -> None:
    for surrogate, target in ((b"", b""), (b"Shield", b";shield")):
        found = targeted.parse_surrogate(data, surrogate)

        if found is not None:
            _is_within_bounds(found)
        strict = b", no-store" + target + b", max-age=0" + target
        stricter = targeted.parse_surrogate(data + strict, surrogate)
        assert stricter is not None
        assert (stricter.no_store, stricter.max_age) == (True, 0)
        elsewhere = b", no-store;other, max-age=0;other"
        assert b'"' in data or targeted.parse_surrogate(data + elsewhere, surrogate) == found
    _governs(targeted.SURROGATE, data, targeted.parse_surrogate(data))


def _governs(name: bytes, data: bytes, found: CacheControl | None) -> None:
    """What is invalid is as if it weren't there."""
    head = ResponseHead(200, ((name, data), (b"cache-control", b"max-age=7")), None)
    expected = (CacheControl(max_age=7), False) if found is None else (found, True)

    assert targeted.governing(head, (name,)) == expected


def _is_within_bounds(found: CacheControl) -> None:
    for value in dataclasses.astuple(found):
        assert not isinstance(value, int) or 0 <= value <= MAX_SECONDS
    for name in (*found.no_cache_fields, *found.private_fields):
        assert _is_token(name)


def _unordered(found: CacheControl) -> CacheControl:
    return dataclasses.replace(
        found,
        no_cache_fields=tuple(sorted(found.no_cache_fields)),
        private_fields=tuple(sorted(found.private_fields)),
    )


def check_freshness(data: bytes) -> None:
    for rules in (LENIENT, STRICT):
        for status in (200, 404):
            head = ResponseHead(status, fields_in(data), None)
            policy = freshness.policy_of(head, NOW, rules)
            made = freshness.freshness_of(head, policy, request_time=NOW - 1, response_time=NOW, rules=rules)

            times = (made.born, made.lifetime, made.grace, made.keep, made.error_grace)
            assert all(map(math.isfinite, times))
            assert 0.0 <= made.lifetime <= rules.max_lifetime
            assert min(made.grace, made.error_grace) >= 0.0
            assert made.born <= NOW - 1
            head = ResponseHead(status, ((b"age", b"100"), *head.fields), None)
            older = freshness.freshness_of(head, policy, request_time=NOW - 1, response_time=NOW, rules=rules)
            assert older.born <= NOW - 101
            assert older.born <= made.born or head.all(b"age")[1:]  # of several the first counts


def check_condition(data: bytes) -> None:
    listed, etag = parts(data, 2)
    strongly, weakly = (conditional.matches(listed, etag, weakly=weakly) for weakly in (False, True))

    assert weakly or not strongly
    if conditional.is_tag(etag):
        assert conditional.matches(etag, etag, weakly=True)
        assert conditional.matches(b'"other", ' + etag, etag, weakly=True)
        assert conditional.matches(etag + b",,W/" + etag.removeprefix(b"W/"), etag, weakly=True)
        if strongly and not conditional.is_strong(etag):
            assert listed.strip(b"\t ") == b"*"
    elif listed.strip(b"\t ") != b"*":
        assert not weakly
    if weakly and listed.strip(b"\t ") != b"*":
        blanked = re.sub(rb'(?:W/)?"[^"]*"', b"x", listed)
        assert {member.strip(b"\t ") for member in blanked.split(b",")} <= {b"x", b""}
    if conditional.if_range_matches(listed, etag, NOW, date=NOW) and conditional.is_tag(listed.strip(b"\t ")):
        assert strongly
    assert not conditional.if_range_matches(listed, None, NOW)
    known = conditional.is_known(listed, etag)
    assert known or not weakly
    if conditional.is_tag(etag):
        assert known == weakly
    elif known and not weakly:
        assert etag.removeprefix(b"W/") in listed
    _is_evaluated(listed, etag, strongly, known)


def _is_evaluated(listed: bytes, etag: bytes, strongly: bool, known: bool) -> None:
    for method in (b"GET", b"HEAD", b"OPTIONS"):
        reads = method != b"OPTIONS"
        said = {
            name: conditional.evaluate({name: listed}, etag, NOW, method, date=NOW)
            for name in (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")
        }
        assert said[b"if-match"] == (None if strongly else 412)
        assert said[b"if-none-match"] == ((304 if reads else 412) if known else None)
        assert said[b"if-modified-since"] in ((None, 304) if reads else (None,))
        assert said[b"if-unmodified-since"] in (None, 412)


def check_forwarding(data: bytes) -> None:
    request = Request.of(b"GET", b"/a", fields_in(data))
    for rules in (PLATFORM, Forwarding(None), Forwarding(None, PLATFORM.types, PLATFORM.codings)):
        sent = rules.fields(request)

        names = [name for name, _ in sent]
        assert names == sorted(set(names))
        assert not set(names) & NEVER
        assert not any(name.startswith(b"x-amz-") for name in names)
        assert rules.names is None or set(names) <= rules.names
        if rules.types:
            assert dict(sent)[b"accept"] in rules.types
            assert dict(sent)[b"accept-encoding"] in (b"br, gzip", b"br", b"gzip", b"identity")
        assert b'"' in data or rules.fields(Request.of(b"GET", b"/a", sent)) == sent
        told = vary.variant(names, sent)
        assert told.count(b"\n") == max(0, len(names) - 1)


def check_vary(data: bytes) -> None:
    lines = data.split(b"\n")
    names = vary.names_in(lines)

    assert names == vary.names_in([b",".join(lines)])
    assert vary.names_in([data, b"accept,*"]) is None
    if names is None:
        assert b"*" in data
        return
    assert list(names) == sorted(set(names))
    for name in names:
        assert name == name.lower().strip(b" \t") != b""
        assert b"," not in name
    assert set(vary.choosing(names, Forwarding(None))) <= set(names)


def check_tags(data: bytes) -> None:
    for name in TAG_FIELDS:
        lines = tuple([(name, line) for line in data.split(b"\n")])
        head = ResponseHead(200, lines, None)
        found = tags.tags_of(head, TAG_FIELDS)

        assert len(found) <= tags.MAX_TAGS
        assert sum(map(len, found)) <= tags.MAX_BYTES
        assert all(0 < len(tag) <= tags.LONGEST for tag in found)
        separators = {b"cache-groups": b"", b"x-tags": b" \t,", b"surrogate-key": b" \t", b"xkey": b" \t"}
        assert all(mark not in tag for tag in found for mark in separators.get(name, b","))
        assert tags.labels(head, TAG_FIELDS) == b"\n".join(sorted(found))


def check_digests(data: bytes) -> None:
    want, rest = parts(data, 2)
    head = ResponseHead(200, fields_in(rest), None)

    assert bool(digests.lines(head, "always", md5_etags=False)) == bool(digests.lines(head, "asked", md5_etags=False))
    for sending in get_args(Sending):
        lines = digests.lines(head, sending, md5_etags=True)
        for name, value in lines:
            assert name in (digests.PUBLIC, hidden.LINE)
            assert name == hidden.LINE or sending == "always"
            _are_digests(value)
        line = digests.wanted(lines, want)
        if line is not None:
            assert line[0] == digests.PUBLIC
            _are_digests(line[1])
            assert set(parse_dictionary(line[1]) or {}) <= set(parse_dictionary(want) or {})
    digests.wanted(head.fields, want)


def _are_digests(value: bytes) -> None:
    members = parse_dictionary(value)
    assert members
    for name, member in members.items():
        assert isinstance(member, Item)
        assert isinstance(member.value, bytes)
        assert len(member.value) == LENGTH_OF[name]


DIRECTIVES = (
    b"public, max-age=60, stale-while-revalidate=30, stale-if-error=86400",
    b'private="set-cookie, x-a", no-cache="x"',
    b'max-age="60", s-maxage=0, immutable',
    b"max-stale, min-fresh=10, only-if-cached",
    b'ext="a, no-store", max-age=99999999999999999999',
    b'no-cache="a\\"b, no-store',
    b"MAX-AGE=1,,;=,no-store =1,public=1",
    b"max-age=1;a=2, no-cache, private=?0, public=?0, s-maxage=1.5",
    b'max-age=600+30, no-store;shield, content="ESI/1.0"',
    b"private=set-cookie",
)
DIRECTIVE_WORDS = tuple(
    b'max-age= s-maxage= no-store no-cache private private=" public must-revalidate immutable min-fresh= max-stale'
    b' stale-if-error= 60 -1 99999999999 60+30 , ; = " \\ \\" ?0 ?1 :aGk=: (a)'.split(b" ")
)
DIGEST = b":47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
MD5 = b":1B2M2Y8AsgTpgAmY7PhCfg==:"

TARGETS = {
    "cache_control": Target(check_cache_control, DIRECTIVES, (b" ", b", no-store", *DIRECTIVE_WORDS)),
    "targeted": Target(check_targeted, DIRECTIVES, (b" ", *DIRECTIVE_WORDS)),
    "surrogate": Target(check_surrogate, DIRECTIVES, (b" ", *DIRECTIVE_WORDS)),
    "freshness": Target(
        check_freshness,
        (
            b"date: Sun, 06 Nov 1994 08:49:37 GMT\nage: 10, 20\ncache-control: max-age=60",
            b"date: Sun, 15 Jun 2025 15:06:40 GMT\nexpires: Mon, 16 Jun 2025 15:06:40 GMT\nage: 99999999999999",
            b"last-modified: Sun, 06 Nov 1994 08:49:37 GMT\nage: x\nage: 7;a=b\ncache-control: public",
            b"cdn-cache-control: max-age=5\nsurrogate-control: max-age=1+2\nexpires: 0",
            b'date: Fri, 31 Dec 9999 23:59:59 GMT\ncache-control: no-cache="date", stale-if-error=1',
            b"date: Mon, 01 Jan 0001 00:00:00 GMT\nexpires: Fri, 31 Dec 9999 23:59:59 GMT",
        ),
        (b"\n", b"age: ", b"date: ", b"expires: ", b"cache-control: ", b"Sun, 06 Nov 1994 08:49:37 GMT", b", "),
    ),
    "condition": Target(
        check_condition,
        (
            b'"a", W/"b",, "c"\n"c"',
            b'W/"a"\nW/"a"',
            b'*\n"a"',
            b'"a,b" , "c"\n"a,b"',
            b'"a" "b"\n"b"',
            b"abc\nabc",
            b"Sun, 15 Jun 2025 15:06:40 GMT\n",
            b'"a\xff"\n"a\xff"',
            b'w/"a"\n"a"',
        ),
        (b'"', b"W/", b'"a"', b'W/"a"', b",", b" ", b"*", b"\n", b"\t", b"\x80"),
    ),
    "forwarding": Target(
        check_forwarding,
        (
            b"accept: image/avif,image/webp;q=0.9,*/*;q=0.8\naccept-encoding: gzip, br;q=0\nx-a: 1 , 2\nx-a: 3",
            b"accept-encoding: *;q=0.1\nconnection: close, X-A\nx-a: 1\nhost: x\nx-amz-date: 1\ncookie: a=b; c=d",
            b'x-a: "a,b", c\nx-a:\nx-a: ,,\naccept: IMAGE/WEBP ; q=1.000',
            b"accept: image/webp;q=0.000;q=1, image/avif;Q=0\nrange: bytes=0-1",
        ),
        (
            b"\n",
            b": ",
            b"accept: ",
            b"accept-encoding: ",
            b"x-a: ",
            b";q=0",
            b";q=1",
            b",",
            b"*",
            b'"',
            b"connection: ",
        ),
    ),
    "vary": Target(
        check_vary,
        (
            b"Accept, accept-encoding\ncookie",
            b"*",
            b"accept,,\t *, b",
            b"",
            b"A b,\x00c",
            b"cookie, host, x-amz-date",
        ),
        (b",", b"*", b" ", b"\n", b"Accept", b"cookie"),
    ),
    "tags": Target(
        check_tags,
        (
            b"a b  c\td ",
            b"a, b ,c d,,\nb, e",
            b'"scripts", "a b";x=1\n"c"',
            b" ".join([b"tag%d" % at for at in range(1100)]),
            b"x" * 1024 + b" " + b"y" * 1025,
            b",".join([b"%d" % at + b"z" * 1000 for at in range(40)]),
        ),
        (b" ", b",", b"\t", b"\n", b'"', b";", b"tag", b"x" * 600, b" , "),
    ),
    "digests": Target(
        check_digests,
        (
            b"sha-256=10, md5=1\nrepr-digest: sha-256=" + DIGEST + b"\ncontent-md5: 1B2M2Y8AsgTpgAmY7PhCfg==",
            b'md5=5\netag: "d41d8cd98f00b204e9800998ecf8427e"',
            b"md5=5, sha-256=0\nx-goog-hash: crc32c=AAAAAA==,md5=1B2M2Y8AsgTpgAmY7PhCfg==",
            b"sha-256=3\nx-amz-checksum-sha256: 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            b"sha-512=1, sha-256=11\nrepr-digest: md5=" + MD5 + b", sha-256=" + DIGEST + b", unixsum=:aGk=:",
            b"md5\nrepr-digest: md5=:aGk=:\nx-goog-stored-content-encoding: gzip",
        ),
        (
            b"sha-256=",
            b"sha-512=",
            b"md5=",
            DIGEST,
            MD5,
            b"\n",
            b"repr-digest: ",
            b"content-digest: ",
            b"x-goog-hash: ",
        ),
    ),
}
