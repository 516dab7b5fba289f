"""Trace Context: which fields are taken over, and what is passed on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.traceparent import MOST_STATE, TraceContext, context_fields, is_sampled, parse_context

# The example of the recommendation.
TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_example_of_the_recommendation() -> None:
    assert parse_context(PARENT) == TraceContext(TRACE, SPAN, True)
    assert parse_context(PARENT[:-1] + b"0") == TraceContext(TRACE, SPAN, False)


@pytest.mark.parametrize(
    "parent",
    [
        b"",
        b"ff" + PARENT[2:],
        PARENT + b"-01",  # version 00 has no more
        PARENT + b" ",
        PARENT.upper(),
        PARENT[:-1],
        PARENT.replace(b"-", b"_"),
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-01",
        PARENT + b", " + PARENT,
    ],
)
def test_what_isnt_valid_is_none(parent: bytes) -> None:
    assert parse_context(parent) is None


@pytest.mark.parametrize("more", [b"", b"-what-may-come"])
def test_a_later_version_is_read_as_far_as_it_is_known(more: bytes) -> None:
    assert parse_context(b"cc" + PARENT[2:] + more) == TraceContext(TRACE, SPAN, True)


def test_other_flags_are_left_alone() -> None:
    found = parse_context(PARENT[:-2] + b"fe")
    assert found is not None and not found.is_sampled


@pytest.mark.parametrize(
    ("state", "kept"),
    [(b"rojo=1,congo=t61rcWkgMzE", True), (b"a" * (MOST_STATE + 1), False), (b"a=\x00", False)],
)
def test_state_is_passed_on_as_it_is_if_it_can_be(state: bytes, kept: bool) -> None:
    found = parse_context(PARENT, state)
    assert found is not None and found.state == (state if kept else b"")


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans(), st.sampled_from([b"", b"a=1"]))
def test_what_is_sent_is_read_as_it_was(trace_id: int, span_id: int, sampled: bool, state: bytes) -> None:
    fields = dict(context_fields(trace_id, span_id, state, is_sampled=sampled))

    found = parse_context(fields[b"traceparent"], fields.get(b"tracestate", b""))

    assert found == TraceContext(trace_id, span_id, sampled, state)


@given(st.integers(1, 2**128 - 1), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_larger_share_has_all_traces_of_a_smaller_one(trace_id: int, one: float, other: float) -> None:
    assert is_sampled(trace_id, 1.0) and not is_sampled(trace_id, 0.0)
    if one <= other and is_sampled(trace_id, one):
        assert is_sampled(trace_id, other)
