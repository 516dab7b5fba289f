"""What one conductor leaves of its probes to the next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.canary_notes import CANARY_BYTES
from shield.origin.probe_notes import as_shown, keep, kept, packed, unpacked
from shield.records import private
from shield.rules.probing import LARGE_BYTES, SMALL_BYTES, KnownCanary, LastProbe, ProbeFinding, ProbeRecord

texts = st.text("abcdef0123456789", max_size=8)
objects = st.binary(max_size=20)
canaries = st.builds(
    KnownCanary,
    objects,
    objects,
    st.none() | st.floats(0.0, 4e9),
    st.none() | st.binary(max_size=10),
    st.none() | st.integers(0, 1 << 40),
    st.none() | texts,
    st.none() | texts,
    st.integers(0, 9),
    st.sampled_from([0, SMALL_BYTES, LARGE_BYTES]),
    st.booleans(),
    st.integers(0, 4_000_000_000).map(float),
    st.integers(0, 4_000_000_000).map(float),
)
records = st.builds(
    ProbeRecord,
    st.lists(canaries, max_size=5).map(tuple),
    st.integers(0, 99),
    st.integers(0, 3),
    st.booleans(),
    st.floats(0.0, 4e9),
    st.none() | st.tuples(objects, objects),
    st.floats(0.0, 4e9),
    st.none() | st.builds(LastProbe, st.floats(0.0, 4e9), st.sampled_from(ProbeFinding), st.floats(0.0, 9.0)),
    st.floats(0.0, 4e9),
    st.floats(0.0, 4e9),
)


@given(records)
def test_what_is_packed_can_be_unpacked(record: ProbeRecord) -> None:
    assert unpacked(packed(record)) == record


@given(st.binary() | st.sampled_from([b"{}", b"[]", b'{"canaries": [[1]]}', b'{"canaries": [], "count": 1}']))
def test_other_bytes_are_no_record(data: bytes) -> None:
    assert unpacked(data) is None


def test_it_is_kept_for_all_workers_until_another_origin_has_the_place() -> None:
    records = private(2)
    one, other = records.of(0, b"fra here"), records.of(1, b"fra here")
    record = ProbeRecord((KnownCanary(b"/a"),), count=3, is_corrupt=True)
    assert kept(other) is None

    keep(one, record)

    assert kept(other) == record
    assert kept(records.of(1, b"fra here")) == record  # a worker that was replaced
    records.free([])
    assert kept(records.of(0, b"iad")) is None


def test_what_is_torn_or_too_much_is_left_out() -> None:
    seen = private().of(0, b"fra")
    many = ProbeRecord(tuple([KnownCanary(b"/%d" % number + b"x" * 900) for number in range(5)]))
    keep(seen, many)
    found = kept(seen)

    assert found is not None and 3 <= len(found.canaries) < 5
    assert len(packed(found)) <= CANARY_BYTES
    keep(seen, ProbeRecord(count=3))
    written = seen.notes._words.cast("B")
    at = bytes(written).index(b'"count": 3')
    written[at + 9] = ord("4")  # by another that writes
    assert kept(seen) is None


def test_it_is_shown_as_plain_values() -> None:
    record = ProbeRecord(
        (KnownCanary(b"/a", b"", 1.0, b'"1"', 5, "abc", None, 1),),
        last=LastProbe(1000.04, ProbeFinding.WRONG, 0.0123),
    )

    assert as_shown(record) == {
        "canaries": [{"path": "/a", "etag": '"1"', "sha256": "abc", "wrong": 1}],
        "last": "wrong",
        "last_at": 1000.0,
        "first_byte_ms": 12.3,
    }
    assert as_shown(ProbeRecord()) == {"canaries": [], "last": None, "last_at": None, "first_byte_ms": None}
