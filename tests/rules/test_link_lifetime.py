"""How long a response to a signed link may be cached by others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field
from shield.rules.cache_control import parse
from shield.rules.heads import block, split_block
from shield.rules.link_lifetime import capped


def told(*fields: Field, rest: int = 5, age: float = 0.0, lifetime: float = 3600.0) -> list[Field]:
    status, lines = split_block(capped(block(200, fields), rest=rest, age=age, lifetime=lifetime))
    assert status == 200
    return lines


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (b"max-age=3600", b"max-age=5"),
        (b"public, max-age=3", b"public, max-age=3"),
        (b'S-MaxAge=9, s-maxage=60, max-age="60"', b"S-MaxAge=5, s-maxage=5, max-age=5"),
        (b"max-age=60, stale-while-revalidate=600, stale-if-error=600", b"max-age=5"),
        (b"immutable, max-age=60", b"max-age=5"),
        (b"max-age=60, immutable", b"max-age=5"),
        (b"no-store", b"no-store"),
        (b"private, max-age=60", b"private, max-age=5"),
        (b"max-age=99999999999999999999999", b"max-age=5"),
        (b"public", b"public"),
    ],
)
def test_no_directive_goes_beyond_the_link(said: bytes, left: bytes) -> None:
    assert told((b"cache-control", said))[0] == (b"cache-control", left)


def test_what_caches_are_told_besides_goes_no_further_either() -> None:
    fields = told(
        (b"expires", b"Sun, 15 Jun 2025 16:06:40 GMT"),
        (b"cdn-cache-control", b"max-age=60, stale-if-error=9"),
        (b"surrogate-control", b"max-age=60+30"),
        (b"etag", b'"x"'),
    )

    assert fields == [
        (b"cdn-cache-control", b"max-age=5"),
        (b"surrogate-control", b"max-age=5"),
        (b"etag", b'"x"'),
        (b"cache-control", b"max-age=5"),
    ]


def test_what_states_no_lifetime_is_told_ours() -> None:
    assert told(rest=9000) == [(b"cache-control", b"max-age=3600")]
    assert told((b"cache-control", b"public"), rest=9000)[1:] == [(b"cache-control", b"max-age=3600")]


DIRECTIVES = st.lists(
    st.sampled_from(
        [
            b"max-age=7",
            b"max-age=700",
            b"s-maxage=70",
            b"immutable",
            b"stale-if-error=9",
            b"public",
            b"no-cache",
            b'x="a"',
        ]
    ),
    max_size=5,
)


@given(DIRECTIVES, st.integers(0, 100), st.floats(0, 1000))
def test_no_cache_goes_on_for_longer_than_the_link(directives: list[bytes], rest: int, age: float) -> None:
    lines = [
        value
        for name, value in told((b"cache-control", b", ".join(directives)), rest=rest, age=age)
        if name == b"cache-control"
    ]
    control = parse(lines)

    for lifetime in (control.max_age, control.s_maxage):
        assert lifetime is None or lifetime - int(age) <= rest
    assert control.max_age is not None or control.s_maxage is not None or control.no_cache
    assert (control.stale_if_error, control.immutable) == (None, False)
    assert control.no_cache is (b"no-cache" in directives)
    assert control.public is (b"public" in directives)
