"""Signed links: the signed text, their validity, and that all links to a path share one target."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import RequestError
from shield.rules.key import KeyRules
from shield.rules.routes import Route, Routes
from shield.rules.signed_urls import Link, LinkParameters, Links, signable, signature

OLD, NEW = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"
LINKS = Links({b"old": OLD, b"new": NEW})
NOW = 1_750_000_000.0
UNTIL = int(NOW) + 60
ROUTES = Routes(
    [
        Route("default"),
        Route("sized", prefix=b"/sized", strip=b"/sized", add=b"/v2", query=frozenset({b"w", b"h"})),
        Route("exact", prefix=b"/exact", key=KeyRules(duplicate_slashes="keep")),
    ]
)


def text_of(target: bytes) -> bytes | None:
    """What a link to a target signs."""
    try:
        return signable(target, ROUTES.resolve(target))
    except RequestError:
        return None


def link_to(path: bytes, *, key: bytes = b"new", expires: int = UNTIL, links: Links = LINKS) -> bytes:
    text = text_of(path)
    assert text is not None
    return links.signed(path, text, key=key, expires=expires)


def objection(target: bytes, *, now: float = NOW, links: Links = LINKS) -> str | None:
    bare, link = links.taken_off(target)
    return links.objection(link, text_of(bare), now)


def test_the_signature_is_what_the_documentation_says() -> None:
    signed = hmac.new(NEW, b"/images/a%20b.webp\n1750000060", hashlib.sha256).hexdigest()

    assert link_to(b"/images/a%20b.webp") == (
        b"/images/a%20b.webp?expires=1750000060&key=new&signature=" + signed.encode()
    )
    # printf '/images/a.webp\n1767225600' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
    assert signature(OLD, b"/images/a.webp", b"1767225600") == (
        b"e1e98b88b0daf165d247dc1c32106e5aa89e7d74a63c16921f1575f6272bbe02"
    )


@pytest.mark.parametrize("key", [b"old", b"new"])
def test_a_link_holds_with_any_of_the_keys_until_it_expires(key: bytes) -> None:
    link = link_to(b"/a", key=key)

    assert objection(link) is None
    assert objection(link, now=UNTIL - 0.001) is None
    assert objection(link, now=UNTIL) == "expired"


def test_a_key_that_is_gone_ends_its_links() -> None:
    link = link_to(b"/a", key=b"old")

    assert objection(link, links=Links({b"new": NEW})) == "unknown key"


SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing of it": (lambda link: b"/a", "not signed"),
    "no signature": (lambda link: link.partition(b"&signature")[0], "not signed"),
    "an empty one": (lambda link: link.partition(b"&signature")[0] + b"&signature=", "not signed"),
    "no expiry": (lambda link: link.replace(b"expires=", b"expired="), "not signed"),
    "no key": (lambda link: link.replace(b"key=new&", b""), "not signed"),
    "a key twice": (lambda link: link + b"&key=new", "not signed"),
    "another key": (lambda link: link.replace(b"key=new", b"key=old"), "wrong signature"),
    "a key that isn't there": (lambda link: link.replace(b"key=new", b"key=newer"), "unknown key"),
    "another path": (lambda link: link.replace(b"/a?", b"/b?"), "wrong signature"),
    "a path below": (lambda link: link.replace(b"/a?", b"/a/b?"), "wrong signature"),
    "another expiry": (lambda link: link.replace(b"%d" % UNTIL, b"%d" % (UNTIL + 1)), "wrong signature"),
    "an expiry with a nought before it": (lambda link: link.replace(b"s=", b"s=0"), "wrong signature"),
    "an expiry that is none": (lambda link: link.replace(b"%d" % UNTIL, b"never"), "wrong signature"),
    "an expiry beyond all numbers": (lambda link: link.replace(b"s=", b"s=" + b"9" * 5000), "wrong signature"),
    "a shorter signature": (lambda link: link[:-1], "wrong signature"),
    "a longer signature": (lambda link: link + b"0", "wrong signature"),
    "capitals": (lambda link: link[:-64] + link[-64:].upper(), "wrong signature"),
    "what isn't ASCII": (lambda link: link[:-1] + b"\xe9", "wrong signature"),
    "more parameters than are read": (lambda link: link + b"&x" * 100, "not signed"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_link_that_is_spoilt_does_not_hold(case: str) -> None:
    spoil, expected = SPOILT[case]

    assert objection(spoil(link_to(b"/a"))) == expected


@pytest.mark.parametrize(
    "target", [b"relative", b"/a%zz", b"/a\xe9", b"/", b"/exact//a/../../..", b"/x%00", b"/" + b"x" * 1025]
)
def test_what_names_no_object_has_no_link(target: bytes) -> None:
    link = b"%b?expires=%d&key=new&signature=%b" % (target, UNTIL, signature(NEW, target, b"%d" % UNTIL))

    assert objection(link) == "wrong signature"


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        (b"/a/thumb.webp", b"/a/th%75mb.webp"),
        (b"/a/thumb.webp", b"//a/./x/../thumb.webp"),
        (b"/a%20b", b"/%61%20b"),
        (b"/sized/a?h=1&w=2", b"/sized/a?w=2&utm=x&h=1"),
        (b"/exact//a", b"/exact//%61"),
    ],
)
def test_every_spelling_of_a_path_has_the_same_signature(signed: bytes, sent: bytes) -> None:
    parts = link_to(signed).split(b"expires=")[1]
    link = sent + (b"&" if b"?" in sent else b"?") + b"expires=" + parts

    assert objection(link) is None


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        (b"/sized/a?h=1&w=2", b"/sized/a?h=1&w=3"),
        (b"/sized/a?h=1&w=2", b"/sized/a"),
        (b"/sized/a", b"/sized/a?w=3"),
        (b"/exact//a", b"/exact/a"),
        (b"/exact/a", b"/exact//a"),
    ],
)
def test_what_names_another_object_has_another_signature(signed: bytes, sent: bytes) -> None:
    parts = link_to(signed).split(b"expires=")[1]
    link = sent + (b"&" if b"?" in sent else b"?") + b"expires=" + parts

    assert objection(link) == "wrong signature"


@pytest.mark.parametrize(
    ("target", "bare", "link"),
    [
        (b"/a", b"/a", None),
        (b"/a?", b"/a?", None),
        (b"/a?w=1&h=2", b"/a?w=1&h=2", None),
        (b"/a?expires=1&key=k&signature=s", b"/a", Link(b"1", b"k", b"s")),
        (b"/a?w=1&signature=s&h=2&key=k&expires=1", b"/a?w=1&h=2", Link(b"1", b"k", b"s")),
        (b"/a?%73ignature=s&k%65y=k", b"/a", Link(b"", b"k", b"s")),
        (b"/a?key=k&key=k", b"/a", Link(b"", b"", b"")),
        (b"/a?key=k&key=k&key=k", b"/a", Link(b"", b"", b"")),
        (b"/a?key=&key=k", b"/a", Link(b"", b"", b"")),
        (b"/a?Key=k&&keys=", b"/a?Key=k&&keys=", None),
        (b"/a?signature", b"/a", Link(b"", b"", b"")),
        (b"/a?signature=a=b?c", b"/a", Link(b"", b"", b"a=b?c")),
        (b"http://cdn.example/a?key=k", b"http://cdn.example/a", Link(b"", b"k", b"")),
    ],
)
def test_the_parts_of_a_link_are_taken_off(target: bytes, bare: bytes, link: Link | None) -> None:
    assert LINKS.taken_off(target) == (bare, link)


def test_parts_may_be_called_otherwise() -> None:
    links = Links({b"k": NEW}, LinkParameters(b"e", b"i", b"s"))

    link = link_to(b"/sized/a?w=1", key=b"k", links=links)

    assert link.startswith(b"/sized/a?w=1&e=1750000060&i=k&s=")
    assert objection(link, links=links) is None
    assert links.taken_off(b"/a?expires=1")[0] == b"/a?expires=1"


def test_a_link_that_is_signed_again_has_its_parts_once() -> None:
    again = LINKS.signed(link_to(b"/a", key=b"old"), b"/a", key=b"new", expires=UNTIL)

    assert again == link_to(b"/a")


QUERY = st.lists(st.sampled_from([b"w=1", b"key=k", b"expires=5", b"signature=x", b"", b"=", b"%6bey=1"]), max_size=8)


@given(QUERY)
def test_all_links_to_a_path_are_one_target(parameters: list[bytes]) -> None:
    bare, _ = LINKS.taken_off(b"/a?" + b"&".join(parameters))

    plain = [each for each in parameters if each in (b"w=1", b"", b"=")]
    if len(plain) == len(parameters):
        assert bare == b"/a?" + b"&".join(parameters)
    else:
        assert bare == (b"/a?" + b"&".join(plain) if plain else b"/a")


@given(st.binary(max_size=80))
def test_any_bytes_are_read_without_a_fault(query: bytes) -> None:
    target = b"/a?" + query

    bare, link = LINKS.taken_off(target)

    assert LINKS.taken_off(bare) == (bare, None)
    assert LINKS.objection(link, b"/a", NOW) is not None


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noted)

    assert objection(link_to(b"/a")) is None
    assert objection(link_to(b"/a") + b"0") == "wrong signature"
    assert len(compared) == 2
