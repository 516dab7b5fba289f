"""A route's changes to the fields of origins' responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field, Fields, ResponseHead
from shield.rules.digests import PUBLIC
from shield.rules.fields import NOT_CHANGEABLE, FieldRules, RouteFields, stored_head
from shield.rules.headers import NameSet
from shield.rules.hidden import LINE as HIDDEN
from shield.rules.ranges import has_parts, with_parts

STORAGE = FieldRules()
WEB = FieldRules(prefixes=())
SHA256 = b"sha-256=:%b=:" % (b"A" * 43)


def kept(rules: FieldRules, fields: Fields) -> tuple[Field, ...]:
    return tuple(rules.kept(fields))


def head(*fields: Field, status: int = 200) -> ResponseHead:
    return ResponseHead(status, fields, 10)


def test_without_rules_a_head_stays_what_it_is() -> None:
    given_head = head((b"x-debug-a", b"1"), (b"x-amz-meta-a", b"2"))

    assert STORAGE.changed(given_head) is given_head


OF_S3 = FieldRules(storage=True)
RANGES = (b"accept-ranges", b"bytes")


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([b"aws-chunked"], []),
        ([b""], []),
        ([b" , "], []),
        ([b"aws-chunked,gzip"], [b"gzip"]),
        ([b"gzip, AWS-Chunked"], [b"gzip"]),
        ([b"aws-chunked", b"br, gzip"], [b"br, gzip"]),
        ([b"gzip"], [b"gzip"]),
        ([b"gzip , br"], [b"gzip , br"]),
        ([b"x-aws-chunked"], [b"x-aws-chunked"]),
    ],
)
@pytest.mark.parametrize("status", [200, 206, 304])
def test_the_coding_of_an_upload_is_none_of_the_objects(lines: list[bytes], left: list[bytes], status: int) -> None:
    fields = [RANGES, *[(b"content-encoding", line) for line in lines]]

    assert OF_S3.changed(head(*fields, status=status)).all(b"content-encoding") == left
    assert WEB.changed(head(*fields, status=status)).all(b"content-encoding") == lines


@given(st.lists(st.sampled_from([b"aws-chunked", b"AWS-CHUNKED", b"gzip", b"br", b"", b" "])))
def test_of_codings_those_are_left_that_the_bytes_have(codings: list[bytes]) -> None:
    said = head(RANGES, (b"content-encoding", b",".join(codings)))

    left = OF_S3.changed(said).all(b"content-encoding")

    assert [coding.strip() for line in left for coding in line.split(b",")] == [
        c for c in codings if c in (b"gzip", b"br")
    ]


@pytest.mark.parametrize(
    ("said", "rules", "status", "can"),
    [
        ([], OF_S3, 200, True),
        ([], OF_S3, 404, False),
        ([], OF_S3, 304, False),
        ([(b"accept-ranges", b"none")], OF_S3, 200, False),
        ([], WEB, 200, False),
        ([(b"accept-ranges", b"none")], WEB, 200, False),
        ([RANGES], WEB, 200, True),
        ([(b"accept-ranges", b"lines, Bytes")], WEB, 200, True),
        ([(b"accept-ranges", b"megabytes")], WEB, 200, False),
    ],
)
def test_of_a_storage_parts_can_be_had_unless_it_says_otherwise_and_a_web_server_must_say_so(
    said: list[Field], rules: FieldRules, status: int, can: bool
) -> None:
    assert has_parts(status, rules.changed(head(*said, status=status)).fields) is can


def test_what_says_that_parts_can_be_had_says_it_once() -> None:
    assert with_parts(((b"accept-ranges", b"none"), (b"a", b"b"))) == ((b"a", b"b"), RANGES)
    assert with_parts((RANGES, (b"a", b"b"))) == (RANGES, (b"a", b"b"))


def test_fields_are_removed_replaced_and_added_as_if_the_origin_had_said_so() -> None:
    rules = FieldRules(
        remove=(b"x-internal", b"x-debug-*"),
        set=((b"timing-allow-origin", b"*"), (b"cache-control", b"max-age=60")),
        add=((b"link", b"</b>"),),
    )

    changed = rules.changed(
        head(
            (b"cache-control", b"no-store"),
            (b"x-internal", b"1"),
            (b"x-internal-not", b"2"),
            (b"x-debug-time", b"3"),
            (b"link", b"</a>"),
            (b"cache-control", b"private"),
        )
    )

    assert changed == head(
        (b"x-internal-not", b"2"),
        (b"link", b"</a>"),
        (b"timing-allow-origin", b"*"),
        (b"cache-control", b"max-age=60"),
        (b"link", b"</b>"),
    )
    assert changed.get(b"cache-control") == b"max-age=60"


def test_a_304_takes_nothing_of_what_is_stored_by_what_is_added() -> None:
    rules = FieldRules(remove=(b"x-a",), set=((b"b", b"ours"),), add=((b"link", b"</ours>"),))

    silent = rules.changed(head((b"x-a", b"1"), (b"b", b"theirs"), (b"etag", b'"x"'), status=304))
    telling = rules.changed(head((b"link", b"</theirs>"), status=304))

    assert silent.fields == ((b"etag", b'"x"'),)
    assert telling.fields == ((b"link", b"</theirs>"), (b"link", b"</ours>"))


@pytest.mark.parametrize(
    "name",
    (
        b"x-amz-id-2 x-amz-request-id x-amz-meta-owner x-amz-version-id x-goog-hash x-ms-request-id"
        b" x-minio-deployment-id x-rgw-object-type x-wasabi-cm-reference-id x-request-id cf-ray"
    ).split(),
)
def test_what_is_a_storages_own_stays_unless_it_passes_or_is_kept(name: bytes) -> None:
    fields = ((name, b"1"), (b"etag", b'"x"'))

    assert kept(STORAGE, fields) == ((b"etag", b'"x"'),)
    assert kept(WEB, fields) == fields
    assert kept(FieldRules(keep=(name,)), fields) == fields
    assert kept(FieldRules(keep=(name[:-1] + b"*",)), fields) == fields
    assert kept(FieldRules(set=((name, b"1"),)), fields) == fields


@pytest.mark.parametrize("name", b"strict-transport-security alt-svc nel report-to".split())
def test_what_speaks_for_another_host_stays_unless_it_is_kept_or_set(name: bytes) -> None:
    fields = ((name, b"1"),)

    assert kept(STORAGE, fields) == kept(WEB, fields) == ()
    assert kept(FieldRules(keep=(name,)), fields) == fields
    assert kept(FieldRules(add=((name, b"1"),)), fields) == fields


@pytest.mark.parametrize(
    "name", b"age server connection keep-alive proxy-authenticate transfer-encoding te upgrade shield-hidden".split()
)
def test_what_is_of_the_hop_or_ours_to_write_never_goes_on(name: bytes) -> None:
    for rules in (STORAGE, WEB, FieldRules(keep=(b"*",)), RouteFields().of("fra", by_peer=True)):
        assert kept(rules, ((name, b"x"),)) == ()


def test_metadata_can_be_kept_alone() -> None:
    fields = ((b"x-amz-meta-owner", b"me"), (b"x-amz-id-2", b"1"))

    assert kept(FieldRules(keep=(b"x-amz-meta-*",)), fields) == fields[:1]


def test_where_digests_are_ours_to_tell_the_origins_own_field_is_replaced() -> None:
    fields = ((PUBLIC, SHA256), (b"etag", b'"x"'))
    asked, always, off = FieldRules(digests="asked"), FieldRules(digests="always"), FieldRules()

    assert (kept(off, fields), off.digest_lines(head(*fields))) == (fields, [])
    assert kept(asked, fields) == kept(always, fields) == fields[1:]
    assert asked.digest_lines(head(*fields)) == [(HIDDEN, SHA256)]
    assert always.digest_lines(head(*fields)) == [(PUBLIC, SHA256)]


@pytest.mark.parametrize("status", [206, 304, 404])
def test_digests_are_those_of_a_whole_answer(status: int) -> None:
    assert FieldRules(digests="asked").digest_lines(head((PUBLIC, SHA256), status=status)) == []


def test_what_another_worker_has_made_of_an_answer_is_not_made_again() -> None:
    mine = FieldRules(remove=(b"x-a",), add=((b"link", b"</b>"),), digests="asked")
    rules = RouteFields({"fra": mine}, "asked")
    answer = head((b"link", b"</b>"), (b"x-amz-meta-kept", b"1"), (b"strict-transport-security", b"max-age=1"))

    assert rules.of("fra", by_peer=False) is mine
    peers = rules.of("fra", by_peer=True)
    assert peers.changed(answer) is answer
    assert kept(peers, answer.fields) == answer.fields
    assert peers.digest_lines(head((PUBLIC, SHA256))) == [(HIDDEN, SHA256)]


def test_an_origin_without_rules_is_a_storage() -> None:
    assert kept(RouteFields().of("new", by_peer=False), ((b"x-amz-id-2", b"1"),)) == ()


def test_a_star_stands_for_any_end() -> None:
    names = NameSet([b"etag", b"x-debug-*"])

    assert b"etag" in names and b"x-debug-" in names and b"x-debug-time" in names
    assert b"etags" not in names and b"x-debug" not in names
    assert b"x" in NameSet([b"*"]) and b"x" not in NameSet([])


NAMES = st.sampled_from([b"a", b"x-a", b"x-amz-meta-b", b"age", b"server", b"connection", b"cache-control", b"etag"])
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from([b"1", b"2", b"x-a"])), max_size=8)
CHANGES = st.lists(st.tuples(NAMES.filter(lambda name: name not in NOT_CHANGEABLE), st.just(b"ours")), max_size=3)


@given(FIELDS, st.lists(st.sampled_from([b"a", b"x-*", b"x-amz-*"]), max_size=2), CHANGES, CHANGES)
def test_what_is_set_is_there_once_and_what_is_removed_is_gone(
    fields: list[Field], removed: list[bytes], replacing: list[Field], added: list[Field]
) -> None:
    once = tuple(dict(replacing).items())
    rules = FieldRules(remove=tuple(removed), set=once, add=tuple(added))

    changed = rules.changed(head(*fields)).fields

    staying = [line for line in fields if line[0] not in NameSet(removed) and line[0] not in dict(once)]
    assert changed == (*staying, *once, *added)
    going_on = kept(rules, changed)
    nominated = {value for name, value in changed if name == b"connection"}
    assert {line for line in (*once, *added) if line[0] not in nominated} <= set(going_on)
    assert not {b"age", b"server", b"connection"} & {name for name, _ in going_on}


def test_what_is_kept_of_an_origins_head_is_end_to_end_with_our_via_and_a_date() -> None:
    received = ResponseHead(
        200,
        (
            (b"x-amz-request-id", b"1"),
            (b"connection", b"x-hop"),
            (b"x-hop", b"1"),
            (b"age", b"9"),
            (b"server", b"AmazonS3"),
            (b"content-length", b"3"),
            (b"etag", b'"e"'),
            (b"via", b"1.1 other"),
        ),
        3,
    )

    stored = stored_head(received, via=b"1.1 fra-1", date=b"Tue, 02 Jan 2024 00:00:00 GMT", length=3)

    assert stored.fields == (
        (b"etag", b'"e"'),
        (b"via", b"1.1 other"),
        (b"date", b"Tue, 02 Jan 2024 00:00:00 GMT"),
        (b"content-length", b"3"),
        (b"via", b"1.1 fra-1"),
    )
    assert stored.etag == b'"e"'
