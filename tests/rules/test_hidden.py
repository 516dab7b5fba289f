"""The hidden line of stored heads: workers see it, clients don't."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field
from shield.rules.heads import block
from shield.rules.hidden import LINE, dictionary, hidden_in, hide, joined, line_of, reveal, shown

OWN = frozenset({b"x-own", b"x-tags"})
FIELDS: list[Field] = [(b"etag", b'"x"'), (b"x-own", b"max-age=1"), (b"date", b"today"), (b"x-tags", b"a:, b")]


def test_what_is_hidden_is_not_shown_and_nothing_else_is() -> None:
    head = block(200, hide(FIELDS, OWN))

    assert shown(head) == block(200, [(b"etag", b'"x"'), (b"date", b"today")])
    assert shown(head) + line_of(head) == head
    assert line_of(head).startswith(LINE)
    plain = block(200, [(b"a", b"b:")])
    assert shown(plain) is plain and line_of(plain) == b""


def test_what_is_hidden_can_be_revealed_and_digests_stay() -> None:
    digest = (LINE, dictionary({"md5": b"0123"}))

    hidden = joined([*hide(FIELDS, OWN), digest])
    revealed = reveal(hidden)

    assert [name for name, _ in hidden].count(LINE) == 1
    assert sorted(revealed) == sorted([*FIELDS, digest])
    assert revealed[-1] == digest and hidden_in(revealed) == {"md5": b"0123"}


def test_where_nothing_is_to_be_hidden_fields_stay_as_they_are() -> None:
    assert hide(FIELDS, frozenset()) == tuple(FIELDS)
    assert reveal(FIELDS) == tuple(FIELDS)


NAMES = st.sampled_from([b"a", b"x-own", b"x-tags", b"etag"])
VALUES = st.binary(max_size=20).filter(lambda value: not set(value) & set(b"\r\n\0"))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_whatever_is_hidden_comes_back(fields: list[Field]) -> None:
    back = reveal(hide(fields, OWN))

    for name in (b"a", b"x-own", b"x-tags", b"etag"):
        assert [v for n, v in back if n == name] == [v for n, v in fields if n == name]
    assert len(back) == len(fields)
    head = block(200, hide(fields, OWN))
    assert shown(head) == block(200, [line for line in fields if line[0] not in OWN])


@given(st.binary(max_size=60))
def test_a_line_that_is_damaged_reveals_nothing_and_raises_nothing(value: bytes) -> None:
    assert reveal([(b"a", b"b"), (LINE, value)])[0] == (b"a", b"b")
