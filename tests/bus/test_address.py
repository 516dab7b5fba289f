"""Addresses of engines."""

from __future__ import annotations

import pytest

from shield.bus.address import EngineAddress, EngineKind, engine_address

SINGLE, SENTINEL, CLUSTER = EngineKind.SINGLE, EngineKind.SENTINEL, EngineKind.CLUSTER


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", EngineAddress(SINGLE, (("h", 6379),))),
        ("valkey://h:1/3", EngineAddress(SINGLE, (("h", 1),), database=3)),
        ("rediss://u:p%40@[::1]:2", EngineAddress(SINGLE, (("::1", 2),), user="u", password="p@", is_tls=True)),
        ("redis://:p@h", EngineAddress(SINGLE, (("h", 6379),), password="p")),
        ("unix:///run/redis.sock", EngineAddress(SINGLE, (("/run/redis.sock", 0),))),
        (
            "redis+sentinel://:p@a,b:3/main/2?sentinel_password=s",
            EngineAddress(
                SENTINEL,
                (("a", 26379), ("b", 3)),
                database=2,
                service="main",
                password="p",
                sentinel_password="s",
            ),
        ),
        (
            "rediss+cluster://a,b:7?ca_file=/ca.pem",
            EngineAddress(CLUSTER, (("a", 6379), ("b", 7)), is_tls=True, ca_file="/ca.pem"),
        ),
    ],
)
def test_what_a_url_means(url: str, expected: EngineAddress) -> None:
    assert engine_address(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:6379",
        "http://h",
        "redis://",
        "redis://a,b",
        "redis://h:x",
        "redis://h/x",
        "redis://h/0/1",
        "redis://h?no_option=1",
        "redis+sentinel://h",
        "redis+cluster://h/1",
        "unix+cluster:///x",
        "unix://",
        "redis+other://h",
    ],
)
def test_what_is_no_address_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError, match="expected") as raised:
        engine_address(url.replace("//", "//:secret@"))

    assert "secret" not in str(raised.value)


def test_people_see_no_password() -> None:
    address = engine_address("rediss+sentinel://u:secret@a:1,[::2]/main?sentinel_password=secret2")

    assert str(address) == "TLS a:1,[::2]:26379/main"
    assert "secret" not in repr(address)
