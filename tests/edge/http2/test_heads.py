"""Heads as HPACK: hpack's own decoder reads back what was written."""

from __future__ import annotations

from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from shield.edge.http2.heads import PreparedEncoder, encoded
from shield.rules.heads import block

NAMES = st.one_of(
    st.sampled_from([b"content-type", b"etag", b"date", b"age", b"cache-control", b"accept-ranges", b"via"]),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=200).map(str.encode),
)
VALUES = st.one_of(
    st.sampled_from([b"", b"gzip, deflate", b"bytes"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=300).map(str.encode),
    st.just(b"x" * 20_000),
)


def read(made: bytes, decoder: Decoder | None = None) -> list[tuple[bytes, bytes]]:
    decoder = decoder or Decoder(max_header_list_size=1 << 20)
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(made, raw=True)]


@given(st.sampled_from([200, 204, 206, 304, 404, 103, 451, 503]), st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_what_is_written_is_read_back(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    made = encoded(block(status, fields))

    assert read(made) == [(b":status", b"%d" % status), *fields]


def test_an_encoder_gives_up_its_table_once_and_uses_none() -> None:
    encoder, decoder = PreparedEncoder(), Decoder()
    head = block(200, [(b"x-a", b"b"), (b"content-type", b"image/webp")])
    encoder.prepare(encoded(head))

    first, second = encoder.encode([]), encoder.encode([])

    assert first == b"\x20" + second
    assert read(first, decoder) == read(second, decoder)
    assert decoder.header_table.maxsize == 0
    assert len(decoder.header_table.dynamic_entries) == 0


def test_the_static_table_is_used() -> None:
    assert encoded(block(200, [])) == b"\x88"
    assert encoded(block(200, [(b"accept-encoding", b"gzip, deflate")])) == b"\x88\x90"
    assert encoded(block(206, [(b"etag", b'"a"')])) == b'\x8a\x0f\x13\x03"a"'
