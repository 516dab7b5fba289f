"""The nodes that a request has passed already (RFC 8586)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.loops import has_passed


@pytest.mark.parametrize(
    ("value", "is_back"),
    [
        (b"fra-1", True),
        (b"cdn, fra-1", True),
        (b"cdn,FRA-1 ; v=1;x, other", True),
        (b"fra-10", False),
        (b"not-fra-1", False),
        (b"cdn; via=fra-1", False),
        (b"", False),
    ],
)
def test_a_node_knows_its_own_name(value: bytes, is_back: bool) -> None:
    assert has_passed(value, b"fra-1") is is_back


@given(value=st.binary(max_size=40))
def test_any_value_can_be_read(value: bytes) -> None:
    has_passed(value, b"fra-1")
