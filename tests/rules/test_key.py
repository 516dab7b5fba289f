"""One canonical path for key, signature and log."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import RequestError
from shield.rules import key
from shield.rules.key import (
    MAX_PARAMETERS,
    CacheKey,
    KeyRules,
    canonical_path,
    canonical_query,
    forbidden_queries,
    is_s3_query,
    key_length,
)
from shield.rules.routes import cache_key

RULES = KeyRules()
PLAIN = KeyRules(duplicate_slashes="keep", encoded_slash="keep", spelling="uri")
ANY_RULES = st.builds(
    KeyRules,
    duplicate_slashes=st.sampled_from(["merge", "keep", "reject"]),
    encoded_slash=st.sampled_from(["decode", "reject"]),
    max_key_bytes=st.integers(1, 80),
)
ANY_PLAIN_RULES = st.builds(
    KeyRules,
    duplicate_slashes=st.sampled_from(["merge", "keep", "reject"]),
    encoded_slash=st.sampled_from(["keep", "decode", "reject"]),
    max_key_bytes=st.integers(1, 80),
    spelling=st.just("uri"),
)
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
RESERVED = frozenset(b":/?#[]@!$&'()*+,;=")
# Pieces in which the trouble is, so that they meet often.
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"/",
                b"//",
                b".",
                b"..",
                b"%2e",
                b"%2E",
                b"%2f",
                b"%2F",
                b"%25",
                b"%3a",
                b"%3B",
                b":",
                b";",
                b"\\",
                b"%5c",
                b"%",
                b"%00",
                b"%C3%BC",
                b"%ff",
                b"a",
                b"Z",
            ]
        ),
        st.binary(min_size=1, max_size=3),
    ),
    max_size=12,
).map(lambda pieces: b"/" + b"".join(pieces))


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"/", b"/"),
        (b"/images/abc/thumb.webp", b"/images/abc/thumb.webp"),
        (b"/a/", b"/a/"),
        (b"/%61%2Dz%7e%5F", b"/a-z~_"),  # RFC 3986 §6.2.2.2
        (b"/%c3%bc", b"/%C3%BC"),  # RFC 3986 §6.2.2.1
        (b"/a!b*c'(d)+e@f:g,h=i&j$k", b"/a%21b%2Ac%27%28d%29%2Be%40f%3Ag%2Ch%3Di%26j%24k"),  # SigV4's UriEncode
        (b"/a\\b;c", b"/a%5Cb%3Bc"),
        (b'/"<>^`{|}', b"/%22%3C%3E%5E%60%7B%7C%7D"),
        (b"/a%20b+c", b"/a%20b%2Bc"),  # a plus is a plus
        (b"/a%2541", b"/a%2541"),  # decoded once
        (b"/a%25", b"/a%25"),
        (b"/a%3Fb%23c", b"/a%3Fb%23c"),
        (b"/a/./b", b"/a/b"),  # RFC 3986 §5.2.4
        (b"/a/../b", b"/b"),
        (b"/a/b/..", b"/a/"),
        (b"/a/b/.", b"/a/b/"),
        (b"/a/b/c/./../../g", b"/a/g"),
        (b"/../../etc/passwd", b"/etc/passwd"),
        (b"/%2e%2E/a/%2e/b/%2e%2e/c", b"/a/c"),
        (b"/%252e%252e/a", b"/%252e%252e/a"),
        (b"/.hidden/..a/a..", b"/.hidden/..a/a.."),
        (b"/a//b///c", b"/a/b/c"),
        (b"//host/path", b"/host/path"),
        (b"/a//../b", b"/a/b"),  # the empty segment is what goes
        (b"/a%2Fb", b"/a/b"),
    ],
)
def test_every_spelling_of_a_path_becomes_one(raw: bytes, canonical: bytes) -> None:
    assert canonical_path(raw, RULES) == canonical


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not-a-path"),
        (b"a/b", "not-a-path"),
        (b"http://host/a", "not-a-path"),
        (b"/a%", "bad-escape"),
        (b"/a%4", "bad-escape"),
        (b"/a%zz", "bad-escape"),
        (b"/a%u0041", "bad-escape"),
        (b"/a\x00b", "control-byte"),
        (b"/a\r\nb", "control-byte"),
        (b"/a b", "control-byte"),
        (b"/a\x7f", "control-byte"),
        (b"/a%00b", "control-byte"),
        (b"/a%0d%0ab", "control-byte"),
        (b"/a%7F", "control-byte"),
        (b"/\xc3\xbc", "not-ascii"),
        (b"/%ff", "not-utf-8"),
        (b"/%C0%AE%C0%AE/a", "not-utf-8"),  # overlong dots
        (b"/%ED%A0%80", "not-utf-8"),  # a surrogate
        (b"/a#b", "fragment"),
    ],
)
def test_what_is_no_path_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(RequestError) as refused:
        canonical_path(raw, RULES)

    assert (refused.value.status, refused.value.reason) == (400, reason)


@pytest.mark.parametrize("rules", [RULES, PLAIN, KeyRules(encoded_slash="reject")])
@pytest.mark.parametrize(
    "raw",
    [
        b"/a/..;/b",
        b"/a/..;x=1/b",
        b"/a/..%3b/b",
        b"/a/.%2e;/b",
        b"/a/%2E%2e%3B",
        b"/.;/b",
        b"/a/..%2fb",
        b"/a%2F../b",
        b"/a%2f..%2Fb",
        b"/a%2f..",
        b"/..%5cb",
        b"/a%5C%2e%2e/b",
        b"/a\\..\\b",
        b"/a/..\\b",
        b"/a/%2e%2e%5c..%5Cb",
        b"/a/.%2Fb",
    ],
)
def test_dot_segments_in_a_guise_are_refused_on_every_route(raw: bytes, rules: KeyRules) -> None:
    with pytest.raises(RequestError, match="hidden-dot-segment") as refused:
        canonical_path(raw, rules)

    assert refused.value.status == 400


@pytest.mark.parametrize(
    "raw", [b"/a/...;/b", b"/a..;b", b"/a;../b", b"/a/..b%2Fc", b"/a%2F.b", b"/a%2F...", b"/%252e%252e;"]
)
@pytest.mark.parametrize("rules", [RULES, PLAIN])
def test_names_with_dots_in_them_are_names(raw: bytes, rules: KeyRules) -> None:
    assert canonical_path(raw, rules)


def _climbs(path: bytes) -> bool:
    """Whether one of the servers that there are would climb, or stand still, somewhere in a path."""
    segments = re.split(rb"[/\\]", unquote_to_bytes(path))
    return any(segment.partition(b";")[0] in (b".", b"..") for segment in segments)


@given(PIECES, st.one_of(ANY_RULES, ANY_PLAIN_RULES))
def test_no_server_climbs_by_a_canonical_path(raw: bytes, rules: KeyRules) -> None:
    try:
        path = canonical_path(raw, rules)
    except RequestError:
        return

    assert not _climbs(path)


def test_duplicate_slashes_follow_their_rule() -> None:
    assert canonical_path(b"//a//b/", KeyRules(duplicate_slashes="keep")) == b"//a//b/"
    assert canonical_path(b"/a%2F%2Fb", KeyRules(duplicate_slashes="keep")) == b"/a//b"
    with pytest.raises(RequestError, match="duplicate-slash"):
        canonical_path(b"/a//b", KeyRules(duplicate_slashes="reject"))


@pytest.mark.parametrize("raw", [b"/a%2fb", b"/a%2Fb"])
def test_encoded_slashes_are_refused_by_rule(raw: bytes) -> None:
    with pytest.raises(RequestError, match="encoded-slash"):
        canonical_path(raw, KeyRules(encoded_slash="reject"))


def test_the_decoded_key_is_what_is_measured() -> None:
    assert canonical_path(b"/" + b"a" * 1024, RULES)
    assert canonical_path(b"/" + b"%C3%BC" * 512, RULES)
    for raw in (b"/" + b"a" * 1025, b"/" + b"%C3%BC" * 512 + b"a"):
        with pytest.raises(RequestError) as refused:
            canonical_path(raw, RULES)
        assert refused.value.status == 414


@given(PIECES, ANY_RULES)
def test_a_canonical_path_is_its_own_canonical_form(raw: bytes, rules: KeyRules) -> None:
    try:
        path = canonical_path(raw, rules)
    except RequestError as refused:
        assert refused.status in (400, 414)
        return

    assert canonical_path(path, rules) == path
    assert path == quote_from_bytes(unquote_to_bytes(path), safe="/").encode()
    assert not {b".", b".."} & set(path.split(b"/"))
    assert key_length(path) == len(unquote_to_bytes(path)) - 1 <= rules.max_key_bytes


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"/w:300/x", b"/w:300/x"),
        (b"/:@!$&'()*+,;=", b"/:@!$&'()*+,;="),
        (b"/[a]", b"/[a]"),
        (
            b"/%3a%40%21%24%26%27%28%29%2a%2b%2c%3b%3d%5b%5d%3f%23",
            b"/%3A%40%21%24%26%27%28%29%2A%2B%2C%3B%3D%5B%5D%3F%23",
        ),
        (b"/%61%2Dz%7e%5F%30", b"/a-z~_0"),  # RFC 3986 §6.2.2.2
        (b"/%c3%bc", b"/%C3%BC"),  # RFC 3986 §6.2.2.1
        (b"/rs:fit:300:0/plain/https://a.example/b.jpg@webp", b"/rs:fit:300:0/plain/https://a.example/b.jpg@webp"),
        (b"/plain/https%3a%2f%2Fa.example%2fb.jpg", b"/plain/https%3A%2F%2Fa.example%2Fb.jpg"),
        (b"/a//b/", b"/a//b/"),
        (b"/a%2541%252f", b"/a%2541%252f"),  # decoded once: what an escaped % begins is text
        (b"/a/./b/%2E%2e/c", b"/a/c"),  # RFC 3986 §6.2.2.3
        (b'/a|b"c', b"/a%7Cb%22c"),  # no characters of a URI
        (b"/%7c%22%20", b"/%7C%22%20"),
        (b"//host/path", b"/host/path"),
        (b"/a/..//host/path", b"/host/path"),
    ],
)
def test_a_path_for_web_servers_is_normalised_and_no_more(raw: bytes, canonical: bytes) -> None:
    assert canonical_path(raw, PLAIN) == canonical


def test_web_servers_may_have_encoded_slashes_read_as_slashes_or_refused() -> None:
    assert canonical_path(b"/a%2fb:%3a", KeyRules(encoded_slash="decode", spelling="uri")) == b"/a/b:%3A"
    with pytest.raises(RequestError, match="encoded-slash"):
        canonical_path(b"/a%2fb", KeyRules(encoded_slash="reject", spelling="uri"))


def test_the_key_of_a_web_server_is_measured_with_its_escapes_undone() -> None:
    rules = KeyRules(encoded_slash="keep", spelling="uri", max_key_bytes=4)

    assert canonical_path(b"/%3a%2F%c3%bc", rules) == b"/%3A%2F%C3%BC"
    with pytest.raises(RequestError, match="key-too-long"):
        canonical_path(b"/%3a%2F%c3%bc:", rules)


@given(PIECES, ANY_PLAIN_RULES)
def test_a_web_servers_path_is_its_own_canonical_form_and_means_the_same(raw: bytes, rules: KeyRules) -> None:
    try:
        path = canonical_path(raw, rules)
    except RequestError as refused:
        assert refused.status in (400, 414)
        return

    assert canonical_path(path, rules) == path
    assert not path.startswith(b"//")
    assert not {b".", b".."} & set(path.split(b"/"))
    assert key_length(path) == len(unquote_to_bytes(path)) - 1 <= rules.max_key_bytes
    escapes = {int(text[:2], 16) for text in path.split(b"%")[1:]}
    assert not escapes & UNRESERVED
    assert all(text[:2] == text[:2].upper() for text in path.split(b"%")[1:])
    assert set(path) <= UNRESERVED | RESERVED | {ord("%")}


@given(st.lists(st.integers(0x21, 0x7E).filter(lambda byte: byte not in b"#?/%."), min_size=1, max_size=40))
def test_only_unreserved_characters_are_the_same_with_and_without_escapes(text: list[int]) -> None:
    bare = canonical_path(b"/" + bytes(text), PLAIN)
    escaped = canonical_path(b"/" + b"".join(b"%%%02x" % byte for byte in text), PLAIN)

    assert (bare == escaped) is (not RESERVED & set(text))
    assert canonical_path(bare, RULES) == canonical_path(escaped, RULES)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1), min_size=1, max_size=5))
def test_spelling_does_not_matter_and_content_does(segments: list[str]) -> None:
    segments = [s.replace("/", "-") for s in segments if s.strip(".")] or ["x"]
    decoded = "/".join(segments).encode()[:300].decode(errors="ignore")
    plain = b"/" + quote_from_bytes(decoded.encode(), safe="/").encode()
    escaped = b"/" + b"".join(b"%%%02x" % byte for byte in decoded.encode())

    if not {".", "..", ""} & set(decoded.split("/")):
        assert canonical_path(escaped, RULES) == canonical_path(plain, RULES) == plain


@given(
    st.lists(st.one_of(st.sampled_from([b"%", b"%3d", b"=", b"==", b"=3D", b"_", b".", b"%0a", b"+"]), st.binary()))
)
def test_escapes_are_undone_at_once_as_they_are_one_by_one(pieces: list[bytes]) -> None:
    text = b"".join(pieces)

    assert key._unquoted(text) == unquote_to_bytes(text)


@pytest.mark.parametrize("rules", [RULES, PLAIN])
@pytest.mark.parametrize("raw", [b"/" + b"%61" * 2700, b"/a/.." * 1400, b"/" * 8000])
def test_what_is_too_long_in_any_reading_is_not_read(raw: bytes, rules: KeyRules) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key, "_decoded", None)
        with pytest.raises(RequestError) as refused:
            canonical_path(raw, rules)

    assert refused.value.status == 414


def test_no_query_is_kept_unless_allowed() -> None:
    assert canonical_query(b"a=1&%zz&acl", frozenset()) == b""
    assert canonical_query(b"utm=1&acl&%zz=1&\xff=2", frozenset({b"w"})) == b""


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"w=2&h=1", b"h=1&w=2"),
        (b"w=2&w=1&h=", b"h=&w=1&w=2"),
        (b"w", b"w="),
        (b"w=%41%2a%7E", b"w=A%2A~"),
        (b"%77=1", b"w=1"),
        (b"w=a=b", b"w=a%3Db"),
        (b"w=a+b%2Bc%20d", b"w=a%20b%2Bc%20d"),
        (b"&&w=1&", b"w=1"),
        (b"W=1&x=2", b""),
    ],
)
def test_allowed_parameters_are_normalised_and_sorted(raw: bytes, canonical: bytes) -> None:
    assert canonical_query(raw, frozenset({b"w", b"h"})) == canonical


@pytest.mark.parametrize("raw", [b"w=%", b"w=%0", b"w=%00", b"w=%0a", b"w=\xff", b"w=a#b", b"w=\n"])
def test_a_malformed_allowed_parameter_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        canonical_query(raw, frozenset({b"w"}))

    assert refused.value.status == 400


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(RequestError, match="too-many-parameters"):
        canonical_query(b"&".join([b"w=1"] * (MAX_PARAMETERS + 1)), frozenset({b"w"}))


@given(st.binary(max_size=60).map(lambda tail: b"w=1&" + tail), st.frozensets(st.sampled_from([b"w", b"h", b"a b"])))
def test_a_canonical_query_is_its_own_canonical_form(raw: bytes, allowed: frozenset[bytes]) -> None:
    try:
        query = canonical_query(raw, allowed)
    except RequestError as refused:
        assert refused.status == 400
        return

    assert canonical_query(query, allowed) == query


@pytest.mark.parametrize(
    "name",
    (
        b"acl ACL uploads uploadId partNumber list-type versions versionId versioning location policy tagging torrent"
        b" lifecycle cors website logging notification replication requestPayment encryption inventory metrics"
        b" analytics accelerate object-lock legal-hold retention publicAccessBlock ownershipControls policyStatus"
        b" attributes select restore delete delimiter prefix marker max-keys continuation-token start-after"
        b" encoding-type fetch-owner x-id response-content-type Response-Expires X-Amz-Signature x-amz-acl"
        b" X-Goog-Signature AWSAccessKeyId Signature Expires GoogleAccessId generation temp_url_sig"
    ).split(),
)
def test_names_that_storage_honours_are_known_in_any_case(name: bytes) -> None:
    assert is_s3_query(name)


def test_an_allow_list_is_told_which_of_its_names_are_forbidden() -> None:
    assert forbidden_queries([b"w", b"versionId", b"format", b"ACL"]) == [b"ACL", b"versionId"]


def test_every_query_parameter_of_botocores_s3_model_is_known() -> None:
    session = pytest.importorskip("botocore.session").get_session()
    model = session.get_service_model("s3")

    for operation in map(model.operation_model, model.operation_names):
        _, _, query = operation.http["requestUri"].partition("?")
        names = {part.partition("=")[0] for part in query.split("&") if part}
        members = operation.input_shape.members.values() if operation.input_shape else ()
        names |= {m.serialization["name"] for m in members if m.serialization.get("location") == "querystring"}

        assert {name for name in names if not is_s3_query(name.encode())} == set()


def test_a_key_is_its_text_and_the_digest_of_it() -> None:
    made = cache_key(b"eu", b"/a/b", b"w=1")

    assert made == CacheKey(b"eu:/a/b?w=1", xxhash.xxh3_128_digest(b"eu:/a/b?w=1"))
    assert cache_key(b"", b"/a/b", b"").text == b":/a/b"


def test_spaces_and_queries_keep_keys_apart() -> None:
    keys = {cache_key(s, p, q) for s in (b"", b"a") for p in (b"/x", b"/a/x") for q in (b"", b"w=")}

    assert len(keys) == len({made.text for made in keys}) == len({made.digest for made in keys}) == 8
