"""Whether two origins have the same bytes: each proof, and everything that contradicts one."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field, ResponseHead
from shield.rules.digests import whole
from shield.rules.identity import OVERLAP, Proof, Statement, overlap_before, prove, state
from shield.rules.ranges import Span

BODY, OTHER = b"the whole object", b"another, as long"
LENGTH = len(BODY)
OPAQUE: Field = (b"etag", b'"version-7"')
KMS: Field = (b"x-amz-server-side-encryption", b"aws:kms")
CUSTOMER: Field = (b"x-amz-server-side-encryption-customer-algorithm", b"AES256")
COMPOSITE: Field = (b"x-amz-checksum-type", b"COMPOSITE")
FULL: Field = (b"x-amz-checksum-type", b"FULL_OBJECT")
CRC: Field = (b"x-amz-checksum-crc64nvme", base64.b64encode(b"8 bytes!"))
OTHER_CRC: Field = (b"x-amz-checksum-crc64nvme", base64.b64encode(b"8 others"))


def md5_tag(body: bytes = BODY) -> Field:
    return b"etag", b'"%b"' % hashlib.md5(body).hexdigest().encode()


def parts_tag(body: bytes = BODY) -> Field:
    return b"etag", b'"%b-3"' % hashlib.md5(body).hexdigest().encode()


def encoded(algorithm: str, body: bytes = BODY) -> bytes:
    return base64.b64encode(hashlib.new(algorithm, body).digest())


def repr_digest(body: bytes = BODY) -> Field:
    return b"repr-digest", b"sha-256=:%b:" % encoded("sha256", body)


def amazon(body: bytes = BODY) -> Field:
    return b"x-amz-checksum-sha256", encoded("sha256", body)


def google(body: bytes = BODY) -> Field:
    return b"x-goog-hash", b"crc32c=n03x6A==,md5=" + encoded("md5", body)


def of(*fields: Field, length: int | None = LENGTH, md5: bool = True) -> Statement:
    return state(ResponseHead(200, fields, length), md5_etags=md5)


@pytest.mark.parametrize(
    ("ours", "theirs", "proof"),
    [
        # a digest that both state
        (of(OPAQUE, repr_digest()), of(parts_tag(), amazon()), Proof.CHECKSUM),
        (of(parts_tag(), CRC, FULL), of(md5_tag(), CRC, FULL), Proof.CHECKSUM),
        (of(OPAQUE, google()), of(OPAQUE, (b"content-md5", encoded("md5"))), Proof.CHECKSUM),
        (of(OPAQUE, google()), of(OPAQUE, (b"x-amz-checksum-crc32c", b"n03x6A==")), Proof.CHECKSUM),
        (of(OPAQUE, repr_digest()), of(OPAQUE, repr_digest(OTHER)), Proof.NONE),
        (of(md5_tag(), CRC), of(md5_tag(), OTHER_CRC), Proof.NONE),  # one contradiction outweighs an equal ETag
        (of(OPAQUE, repr_digest(), CRC), of(OPAQUE, repr_digest(), OTHER_CRC), Proof.NONE),
        # the checksum of the parts' checksums isn't that of the object
        (of(OPAQUE, CRC, COMPOSITE), of(OPAQUE, CRC, COMPOSITE), Proof.OVERLAP),
        (of(OPAQUE, amazon(), COMPOSITE), of(OPAQUE, repr_digest(OTHER)), Proof.OVERLAP),
        (of(OPAQUE, (amazon()[0], amazon()[1] + b"-3")), of(OPAQUE, repr_digest()), Proof.OVERLAP),
        (
            of(OPAQUE, (b"x-amz-checksum-crc32", b"AAAA")),
            of(OPAQUE, (b"x-amz-checksum-crc32", b"AAAA")),
            Proof.OVERLAP,
        ),
        # ETags that are MD5s
        (of(md5_tag()), of(md5_tag()), Proof.ETAG),
        (of(md5_tag()), of(OPAQUE, google()), Proof.ETAG),
        (of(OPAQUE, google(OTHER)), of(md5_tag()), Proof.NONE),
        (of(md5_tag()), of(md5_tag(OTHER)), Proof.NONE),
        (of(md5_tag()), of(parts_tag()), Proof.OVERLAP),
        (of(parts_tag()), of(parts_tag()), Proof.OVERLAP),
        (of(OPAQUE), of(OPAQUE), Proof.OVERLAP),  # the same text, but of nobody knows what
        (of(md5_tag(), KMS), of(md5_tag(), KMS), Proof.OVERLAP),
        (of(md5_tag(), KMS), of(md5_tag(OTHER)), Proof.OVERLAP),
        (of(md5_tag()), of(md5_tag(), CUSTOMER), Proof.OVERLAP),
        (of(md5_tag(), md5=False), of(md5_tag()), Proof.OVERLAP),
        (of(md5_tag()), of(md5_tag(OTHER), md5=False), Proof.OVERLAP),
        # the length
        (of(md5_tag()), of(md5_tag(), length=LENGTH + 1), Proof.NONE),
        (of(md5_tag(), length=None), of(md5_tag(), length=None), Proof.NONE),
        # ranges must be bound to the version
        (of(repr_digest()), of(repr_digest()), Proof.NONE),
        (of(repr_digest(), OPAQUE), of(repr_digest(), (b"etag", b'W/"7"')), Proof.NONE),
        (of(repr_digest(), OPAQUE), of(repr_digest(), (b"etag", b"unquoted")), Proof.NONE),
        (of(repr_digest()), of(repr_digest(), OPAQUE), Proof.CHECKSUM),
    ],
)
def test_proofs(ours: Statement, theirs: Statement, proof: Proof) -> None:
    assert prove(ours, theirs) is proof


@pytest.mark.parametrize(
    ("mine", "others", "proof"),
    [(BODY, BODY, Proof.DIGEST), (BODY, OTHER, Proof.NONE), (BODY, None, Proof.OVERLAP), (None, None, Proof.OVERLAP)],
)
def test_digests_of_earlier_fills(mine: bytes | None, others: bytes | None, proof: Proof) -> None:
    computed = [None if body is None else hashlib.sha256(body).digest() for body in (mine, others)]
    ours, theirs = [Statement(LENGTH, b'"%d"' % n, computed=digest) for n, digest in enumerate(computed)]

    assert prove(ours, theirs) is proof


def test_a_computed_digest_is_compared_with_a_stated_one() -> None:
    ours = Statement(LENGTH, b'"1"', computed=hashlib.sha256(BODY).digest())

    assert prove(ours, of(OPAQUE, amazon())) is Proof.DIGEST
    assert prove(ours, of(OPAQUE, amazon(OTHER))) is Proof.NONE


def test_proofs_that_allow_storing() -> None:
    assert {proof for proof in Proof if proof.is_full} == {Proof.CHECKSUM, Proof.ETAG, Proof.DIGEST}


@pytest.mark.parametrize(
    ("place", "first", "span"),
    [
        (OVERLAP, 0, Span(0, OVERLAP)),
        (5 * OVERLAP + 7, 0, Span(4 * OVERLAP + 7, 5 * OVERLAP + 7)),
        (100, 0, Span(0, 100)),  # all there is before it
        (5 * OVERLAP, 4 * OVERLAP, Span(4 * OVERLAP, 5 * OVERLAP)),
        (5 * OVERLAP, 4 * OVERLAP + 1, None),  # not enough of it is held
        (0, 0, None),
    ],
)
def test_the_bytes_to_compare(place: int, first: int, span: Span | None) -> None:
    assert overlap_before(place, first) == span


texts = st.sampled_from([BODY, OTHER])
statements = st.builds(
    lambda length, tag, stated, body, computed: Statement(
        length,
        tag,
        {name: hashlib.new(name.replace("-", ""), body).digest() for name in stated},
        hashlib.md5(body).digest() if computed else None,
        hashlib.sha256(body).digest() if computed else None,
    ),
    st.sampled_from([None, 5, 6]),
    st.sampled_from([None, b'"1"', b'"2"', b'W/"1"']),
    st.sets(st.sampled_from(["md5", "sha-256", "sha-512"])),
    texts,
    st.booleans(),
)


@given(statements, statements)
def test_a_proof_needs_evidence_and_holds_both_ways(ours: Statement, theirs: Statement) -> None:
    proof = prove(ours, theirs)

    if ours.etag == b'"1"' and theirs.etag == b'"2"':
        assert proof is prove(theirs, ours)
    if proof is not Proof.NONE:
        assert ours.length == theirs.length is not None
        assert theirs.etag in (b'"1"', b'"2"')
        assert all(theirs.stated.get(name, digest) == digest for name, digest in ours.stated.items())
    if proof.is_full:
        mine = {*ours.stated.values(), ours.md5, ours.computed} - {None}
        assert mine & {*theirs.stated.values(), theirs.md5, theirs.computed}


@given(
    st.lists(
        st.tuples(st.sampled_from([b"x-amz-checksum-crc32", b"x-goog-hash", b"repr-digest", b"etag"]), st.binary())
    )
)
def test_no_head_upsets_it(fields: list[Field]) -> None:
    assert all(
        len(digest) in (4, 8, 16, 20, 32, 64) for digest in whole(ResponseHead(200, tuple(fields), 1)).values()
    )


@given(st.integers(0, 1 << 24), st.integers(0, 1 << 24))
def test_the_bytes_to_compare_are_held_and_end_at_the_place(place: int, first: int) -> None:
    span = overlap_before(place, first)

    if span is not None:
        assert first <= span.start < span.stop == place
        assert place - span.start <= OVERLAP
