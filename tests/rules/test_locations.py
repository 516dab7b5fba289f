"""Location and Content-Location of origins: their own URLs become paths, never the URL of another host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.locations import PathMapping

PLAIN = PathMapping(b"origin.internal:8080", tls=False)
SECURE = PathMapping(b"origin.internal", tls=True)
ROUTED = PathMapping(b"origin.internal:8080", tls=False, below=b"/base/v2", strip=b"/images")


@pytest.mark.parametrize(
    ("value", "mapped"),
    [
        (b"http://origin.internal:8080/a?b=c#d", b"/a?b=c#d"),
        (b"HTTP://Origin.INTERNAL:8080/A", b"/A"),
        (b"http://origin.internal.:08080/a", b"/a"),
        (b"//origin.internal:8080/a", b"/a"),
        (b"http://origin.internal:8080", b"/"),
        (b"http://origin.internal:8080?x", b"/?x"),
        (b"http://origin.internal:8080/a%2Fb//c", b"/a%2Fb//c"),
    ],
)
def test_a_url_of_the_origins_own_becomes_its_path(value: bytes, mapped: bytes) -> None:
    assert PLAIN.mapped(value) == mapped


@pytest.mark.parametrize(
    "value",
    [
        b"/a",
        b"a/b",
        b"../a",
        b"?x",
        b"",
        b"http://other.example/a",
        b"http://origin.internal/a",
        b"http://origin.internal:80801/a",
        b"https://origin.internal:8080/a",
        b"http://user@origin.internal:8080/a",
        b"http://origin.internal:8080@evil.example/a",
        b"http://origin.internal:8080.evil.example/a",
        b"http://origin.internal:8080\\@evil.example/a",
        b"http://origin.internal:8080/a/../b",
        b"http://origin.internal:8080/a/%2e%2E/b",
        b"ftp://origin.internal:8080/a",
        b"http:origin.internal:8080/a",
        b"///origin.internal:8080/a",
        b"javascript:alert(1)",
    ],
)
def test_what_names_another_place_or_none_stays(value: bytes) -> None:
    assert PLAIN.mapped(value) == value


def test_the_default_port_may_be_named_and_the_other_scheme_is_another_place() -> None:
    assert SECURE.mapped(b"https://origin.internal:443/a") == b"/a"
    assert SECURE.mapped(b"https://origin.internal/a") == b"/a"
    for other in (b"https://origin.internal:80/a", b"http://origin.internal/a", b"https://origin.internal:8443/a"):
        assert SECURE.mapped(other) == other


def test_addresses_of_version_6_are_hosts_like_others() -> None:
    assert PathMapping(b"[2001:db8::1]:81", tls=False).mapped(b"http://[2001:DB8::1]:81/a") == b"/a"


@pytest.mark.parametrize(
    ("value", "mapped"),
    [
        (b"http://origin.internal:8080/base/v2/a", b"/images/a"),
        (b"http://origin.internal:8080/base/v2", b"/images"),
        (b"http://origin.internal:8080/base/v2?x", b"/images?x"),
        (b"/base/v2/a", b"/images/a"),
        (b"/base/v2x/a", b"/base/v2x/a"),
        (b"/other", b"/other"),
        (b"http://origin.internal:8080/base/v22/a", b"http://origin.internal:8080/base/v22/a"),
        (b"http://origin.internal:8080/admin", b"http://origin.internal:8080/admin"),
        (b"/base/v2/../admin", b"/base/v2/../admin"),
    ],
)
def test_what_a_route_strips_and_adds_is_undone(value: bytes, mapped: bytes) -> None:
    assert ROUTED.mapped(value) == mapped


@pytest.mark.parametrize(
    "behind", [b"//evil.example/", b"/\\evil.example/", b"/\t/evil.example", b"\\/evil.example", b"///evil.example"]
)
def test_no_path_becomes_a_host(behind: bytes) -> None:
    for mapping in (PLAIN, PathMapping(b"origin.internal:8080", tls=False, below=b"/base")):
        assert mapping.mapped(b"http://origin.internal:8080" + mapping.below + behind) in (
            b"/evil.example/",
            b"/evil.example",
            b"http://origin.internal:8080" + mapping.below + behind,
        )


@given(st.sampled_from([PLAIN, SECURE, ROUTED]), st.binary(max_size=40), st.booleans())
def test_whatever_it_is_it_stays_or_becomes_one_path(mapping: PathMapping, tail: bytes, own: bool) -> None:
    value = (b"http%s://%s" % (b"s" if mapping.tls else b"", mapping.authority) if own else b"") + tail

    mapped = mapping.mapped(value)

    assert mapped == value or (mapped[:1] == b"/" and mapped[1:2] not in (b"/", b"\\", b"\t"))


def test_only_these_two_fields_are_looked_at() -> None:
    url = b"http://origin.internal:8080/a"
    fields = ((b"link", url), (b"location", url), (b"content-location", url), (b"location", b"b"))

    assert PLAIN.fields(fields) == (
        (b"link", url),
        (b"location", b"/a"),
        (b"content-location", b"/a"),
        (b"location", b"b"),
    )
