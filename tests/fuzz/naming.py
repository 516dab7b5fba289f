"""What names something: paths, queries, whole targets, signed links, hosts and addresses."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import unquote_to_bytes

from shield.errors import RequestError
from shield.rules import addresses, key
from shield.rules.access import Hosts
from shield.rules.addresses import UNIX, IPAddress, Networks, Peer
from shield.rules.key import MAX_PARAMETERS, KeyRules
from shield.rules.routes import Resource, Route, Routes, cache_key
from shield.rules.signed_urls import Link, LinkParameters, Links, signable
from tests.fuzz.target import Target

SLASHES: tuple[Literal["merge", "keep", "reject"], ...] = ("merge", "keep", "reject")
ENCODED: tuple[Literal["decode", "reject"], ...] = ("decode", "reject")
RULES = [KeyRules(slashes, encoded, most) for slashes in SLASHES for encoded in ENCODED for most in (1024, 16)]
ALLOWED = (frozenset({b"w", b"h", b"a b", b"expires"}), frozenset[bytes]())
ROUTES = Routes(
    [
        Route("default"),
        Route("sized", b"/sized", strip=b"/sized", add=b"/v2/x", space=b"s", query=frozenset({b"w", b"h"})),
        Route("strict", b"/strict", key=KeyRules("reject", "reject", 32)),
        Route("kept", b"/kept", strip=b"/kept", query=None, key=KeyRules("keep")),
    ]
)
NOW = 1_750_000_000
LINKS = (
    Links({b"old": b"o" * 32, b"new": b"n" * 32}),
    Links({b"new": b"n" * 32}, LinkParameters(b"e", b"k", b"s")),
)
PROXY, CLIENT = addresses.peer_of("10.0.0.1"), addresses.peer_of("203.0.113.9")
TRUSTED = Networks(["10.0.0.0/8", "2001:db8::/32", UNIX])
HOSTS = Hosts(["cdn.example", "*.below.example"])

_is_canonical = re.compile(rb"(?:/|%[0-9A-F]{2}|[A-Za-z0-9._~-])+").fullmatch


def check_path(data: bytes) -> None:
    found = {rules: _path(data, rules) for rules in RULES}

    for rules, path in found.items():
        if path is None:
            continue
        _names_a_key(path, rules)
        assert _path(path, rules) == path
        # What is read strictly is no other path where it is read leniently.
        assert found[KeyRules()] == re.sub(rb"/+", b"/", path)


def _names_a_key(path: bytes, rules: KeyRules) -> None:
    assert path.startswith(b"/")
    assert _is_canonical(path)
    decoded = unquote_to_bytes(path)
    assert decoded.decode().encode() == decoded
    assert not re.search(rb"[\x00-\x1f\x7f]", decoded)
    assert not {b".", b".."} & set(decoded.split(b"/"))
    assert key.key_length(path) == len(decoded) - 1 <= rules.max_key_bytes
    assert b"//" not in path or rules.duplicate_slashes == "keep"


def _path(raw: bytes, rules: KeyRules) -> bytes | None:
    try:
        return key.canonical_path(raw, rules)
    except RequestError as error:
        assert error.status in (400, 414)
        return None


def check_query(data: bytes) -> None:
    unchanged = _query(data, None)
    assert unchanged in (None, data)
    for allowed in ALLOWED:
        query = _query(data, allowed)
        if query is None:
            continue
        assert query.isascii()
        assert not re.search(rb"[\x00-\x20#\x7f]", query)
        parameters = query.split(b"&") if query else []
        assert parameters == sorted(parameters, key=lambda parameter: parameter.partition(b"=")[::2])
        assert {unquote_to_bytes(parameter.partition(b"=")[0]) for parameter in parameters} <= allowed
        assert _query(query, allowed) == query
        assert _query(data.replace(b"+", b"%20"), allowed) == query
        meant = [text for text in data.split(b"&") if _name(text) in allowed]
        assert len(parameters) == len(meant)
        assert not any(re.search(rb"%(?![0-9A-Fa-f]{2})", text) for text in meant)
        assert _query(b"&".join(data.split(b"&")[::-1]), allowed) == query
        assert _query(data + b"&x%20y=1", allowed) in (query, None)


def _name(parameter: bytes) -> bytes:
    return unquote_to_bytes(parameter.partition(b"=")[0].replace(b"+", b" "))


def _query(raw: bytes, allowed: frozenset[bytes] | None) -> bytes | None:
    try:
        return key.canonical_query(raw, allowed)
    except RequestError as error:
        assert error.status == 400
        return None


def check_target(data: bytes) -> None:
    resource = _resource(data)
    if resource is None:
        return

    route, path, query = resource.route, resource.path, resource.query
    _names_a_key(path, route.key)
    assert path.startswith(route.add)
    assert len(path) > len(route.add) + 1
    assert resource.key == cache_key(route.space, path, query)
    asked = route.strip + path[len(route.add) :]
    assert route.matches(asked)
    again = _resource(asked + b"?" + query if query else asked)
    assert again == resource


def _resource(target: bytes) -> Resource | None:
    try:
        return ROUTES.resolve(target)
    except RequestError as error:
        assert error.status in (400, 404, 414)
        return None


def check_link(data: bytes) -> None:
    for links in LINKS:
        bare, link = links.taken_off(data)
        names = {links.parameters.expires, links.parameters.key, links.parameters.signature}

        if link is None:
            assert bare == data
            if data.count(b"&") >= MAX_PARAMETERS:
                continue
        parameters = bare.partition(b"?")[2].split(b"&")
        assert names.isdisjoint(unquote_to_bytes(parameter.partition(b"=")[0]) for parameter in parameters)
        assert links.taken_off(bare) == (bare, None)
        resource = _resource(bare)
        if resource is not None:
            _can_be_signed(links, bare, signable(bare, resource), link)


def _can_be_signed(links: Links, bare: bytes, text: bytes, forged: Link | None) -> None:
    assert links.objection(forged, text, NOW) is not None
    signed = links.signed(bare, text, key=b"new", expires=NOW + 60)
    if signed.count(b"&") >= MAX_PARAMETERS:
        return  # nobody reads so many

    again, link = links.taken_off(signed)
    assert again == bare
    assert links.objection(link, text, NOW) is None
    assert links.objection(link, text, NOW + 60) == "expired"
    assert links.objection(link, text + b"x", NOW) == "wrong signature"
    assert links.objection(links.taken_off(signed + b"&" + links.parameters.key + b"=new")[1], text, NOW) is not None


def check_forwarded(data: bytes) -> None:
    alone = _told(data, x_forwarded_for=None)
    _tell_no_more_than_they_may(*alone)

    # Whatever was there before, the proxy's own word counts, or nothing does.
    for behind in (b"", b', for="10.0.0.2:80"', b" ,, For=10.0.0.2;proto=http , for=10.0.0.3"):
        said = _told(data + b", for=203.0.113.9" + behind, x_forwarded_for=None)
        assert said == [CLIENT] or (said == [None] and (alone == [None] or len(data) > 4000))
    assert _told(data + b", for=203.0.113.9, for=unknown, for=10.0.0.3", x_forwarded_for=None) == [None]


def check_x_forwarded_for(data: bytes) -> None:
    _tell_no_more_than_they_may(*_told(None, x_forwarded_for=data))

    for behind in (b"", b", 10.0.0.2:80", b" ,[2001:db8::2]:80,, "):
        whole = data + b", 203.0.113.9" + behind
        assert _told(None, x_forwarded_for=whole) == [CLIENT if len(whole) <= 4096 else None]


def _told(forwarded: bytes | None, *, x_forwarded_for: bytes | None) -> list[Peer]:
    given = forwarded if x_forwarded_for is None else x_forwarded_for
    assert addresses.stated_clients(CLIENT, forwarded, x_forwarded_for, TRUSTED) == [CLIENT]
    assert len(addresses.stated_clients(PROXY, given, given, TRUSTED)) == 2
    return addresses.stated_clients(PROXY, forwarded, x_forwarded_for, TRUSTED)


def _tell_no_more_than_they_may(*told: Peer) -> None:
    assert len(told) == 1
    assert told[0] is None or isinstance(told[0], IPAddress)
    assert told[0] is None or _is_plain(told[0])


def check_peer(data: bytes) -> None:
    text = data.decode(errors="replace")
    peer = addresses.peer_of(text)

    if isinstance(peer, str):
        assert peer == text == UNIX
    elif peer is not None:
        assert _is_plain(peer)
        assert addresses.peer_of(str(peer)) == peer
        assert peer in Networks([str(peer)])


def _is_plain(peer: Peer) -> bool:
    """No zone, and no IPv4 address in the guise of another."""
    return getattr(peer, "scope_id", None) is None and getattr(peer, "ipv4_mapped", None) is None


def check_hosts(data: bytes) -> None:
    named = re.fullmatch(rb"(?:cdn|[a-z0-9_-][a-z0-9._-]*\.below)\.example\.?(?::[0-9]*)?", data.lower())

    assert HOSTS.has(data) is (named is not None)


PATHS = (
    b"/images/abc/thumb.webp",
    b"/a//b/../%63.webp",
    b"/%2e%2E/%2F/..%2f../a",
    b"/a/./b/.//c/..",
    b"/%e2%82%ac/a%20b+c/%25",
    b"/kept//x/../..//y",
    b"/%c3%28",
    b"/%00",
    b"/a%",
    b"//",
    b"/" + b"a" * 1030,
    b"/" + b"%C3%A4" * 512,
    b"a/b",
    b"/.../..a/.b",
)
PATH_WORDS = tuple(b"/ // . .. %2e %2F %25 %00 %1f %7f %e2%82%ac %c3 + ~ # ? ; \x80 \\ : %20 /../ /./".split(b" "))
QUERIES = (
    b"w=1&h=2",
    b"h=2&w=%31&w=0&x=%zz",
    b"a+b=c+d&a%20b=%2b",
    b"%77=%26%3D&&=&w",
    b"w=a%00b",
    b"w=#",
    b"w=\xff",
    b"&".join([b"w=%d" % at for at in range(99)]),
    b"&" * 100,
)
TARGET_WORDS = (b"?", b"&", b"=", b"/sized", b"/kept", b"/strict", b"w=1", b"h=%31", b"*", b"http://", *PATH_WORDS)
SIGNED = b"expires=1750000060&key=new&signature=" + b"0" * 64

TARGETS = {
    "path": Target(check_path, PATHS, PATH_WORDS),
    "query": Target(
        check_query, QUERIES, (b"&", b"=", b"+", b"%", b"w=", b"h", b"a%20b", b"%26", b"%3D", b"%00", b"#", b"?")
    ),
    "target": Target(
        check_target,
        (
            *PATHS,
            b"/sized/a/b.png?utm=2&w=%31",
            b"/kept//x?a=b&a=b?c",
            b"/strict/a?w=1",
            b"/strict//a",
            b"/kept/%2e./sized/x",
            b"/sized/..%2Fstrict//x",
            b"/a?b#c",
            b"*",
            b"http://cdn.example/a",
        ),
        TARGET_WORDS,
    ),
    "link": Target(
        check_link,
        (
            b"/a?" + SIGNED,
            b"/a?w=1&%65xpires=1&" + SIGNED,
            b"/kept/a?" + SIGNED + b"&b=c&&e=1&k=new&s=0",
            b"/a?key=new&key=new",
            b"/sized/x?h=2&w=1&signature=",
            b"/a?",
            b"/a?&",
            b"/kept/a?" + b"x&" * 98 + b"key=1",
            b"/a?expires%=1&%=2",
        ),
        (b"&", b"=", b"?", b"key", b"expires=", b"signature=", b"%6b", b"%65", b"k=new", b"s", b"/kept", SIGNED),
    ),
    "forwarded": Target(
        check_forwarded,
        (
            b'for=192.0.2.43, for="[2001:db8:cafe::17]:4711";proto=http;by=203.0.113.43',
            b'For="_gazonk", for=unknown;host="a,b;c"',
            b"for=192.0.2.60:80;proto=http , for=10.0.0.9",
            b'for="192.0.2.1, for=10.0.0.1',
            b'for="\\1\\9\\2.0.2.1"',
            b"for=a;for=b",
            b",, ,for=::ffff:10.0.0.1;;by=x",
            b"for = 192.0.2.1",
            b"for=192.0.2.1" + b" " * 4000,
        ),
        (
            b"for=",
            b'"',
            b";",
            b",",
            b"\\",
            b"[",
            b"]",
            b":80",
            b"10.0.0.1",
            b"192.0.2.1",
            b"::1",
            b"%eth0",
            b" ",
            b"\t",
        ),
    ),
    "x_forwarded_for": Target(
        check_x_forwarded_for,
        (
            b"192.0.2.1, 10.0.0.2",
            b"10.0.0.3,10.0.0.2 ",
            b"[2001:db8::1]:80, ::ffff:192.0.2.1, fe80::1%eth0",
            b"unknown, , 1.2.3.4.5, 01.2.3.4",
            b"10.0.0.2," * 450,
            b"\xff, 192.0.2.1:",
            b"1" * 200,
        ),
        (b",", b" ", b":", b"::", b"[", b"]", b"%", b"10.0.0.1", b"192.0.2.1", b"::ffff:", b":80", b"."),
    ),
    "peer": Target(
        check_peer,
        (
            b"192.0.2.1",
            b"::1",
            b"fe80::1%eth0",
            b"::ffff:10.0.0.1",
            b"unix",
            b"",
            b"1",
            b"::ffff:0:0%1",
            b"1.2.3.4%5",
        ),
        (b":", b"::", b".", b"%", b"ffff", b"0", b"255", b"256", "\u0661".encode(), b"/24", b"unix"),
    ),
    "hosts": Target(
        check_hosts,
        (
            b"cdn.example",
            b"CDN.example.:443",
            b"a.below.example",
            b"below.example",
            b".below.example",
            b"xcdn.example",
            b"cdn.example:8:0",
            b"[::1]:80",
            b"user@cdn.example",
            b"-.below.example",
        ),
        (b".", b":", b"cdn", b"below.example", b"a", b"@", b"[", b"]", b" ", b"\n", b":80", b"_"),
    ),
}
