"""Pages of listings: what they hold, and what isn't taken for one."""

from __future__ import annotations

import math
from urllib.parse import parse_qsl, quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.audit.listing import ListedObject, ListingError, page_query, parse_page

MD5 = "9a0364b9e99bb480dd25e1f0284c8555"
AT = "2009-10-12T17:50:30.000Z"
SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def contents(key: str, *, size: str = "4", etag: str = MD5, modified: str = AT) -> str:
    """One object as S3 writes it; the key as it stands in the document."""
    return (
        f"<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
        f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def page(*objects: str, encoded: bool = True, truncated: bool = False, token: str | None = None) -> bytes:
    encoding = "<EncodingType>url</EncodingType>" if encoded else ""
    goes_on = "" if token is None else f"<NextContinuationToken>{token}</NextContinuationToken>"
    inner = "".join(objects)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="{SPACE}"><Name>images</Name><Prefix/>'
        f"<KeyCount>{len(objects)}</KeyCount>{encoding}<IsTruncated>{str(truncated).lower()}</IsTruncated>{goes_on}"
        f"{inner}</ListBucketResult>"
    ).encode()


def test_an_object_has_key_size_etag_and_time() -> None:
    read = parse_page(page(contents("images/a.webp", size="1234")), b"images/")

    assert read.objects == (ListedObject(b"images/a.webp", 1234, MD5, 1255369830.0),)
    assert read.is_last and read.token is None


@pytest.mark.parametrize(
    ("written", "encoded", "key"),
    [
        ("a+b", True, b"a b"),
        ("a%20b", True, b"a b"),
        ("a%2Bb", True, b"a+b"),
        ("a%252Bb", True, b"a%2Bb"),
        ("%2Flead", True, b"/lead"),
        ("/lead", True, b"/lead"),
        ("%C3%A4", True, "ä".encode()),
        ("%09", True, b"\t"),
        ("a+b", False, b"a+b"),
        ("a%2Bb", False, b"a%2Bb"),
        ("ä &amp; b", False, "ä & b".encode()),
    ],
)
def test_keys_are_read_as_the_document_says_that_they_are_written(written: str, encoded: bool, key: bytes) -> None:
    assert [each.key for each in parse_page(page(contents(written), encoded=encoded), b"").objects] == [key]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@given(st.lists(st.text(min_size=1, max_size=30).filter(_is_unicode), unique=True))
def test_every_key_comes_back_from_the_way_that_s3_writes_it(keys: list[str]) -> None:
    ordered = sorted(key.encode() for key in keys)

    read = parse_page(page(*[contents(escape(quote_plus(key, safe="/"))) for key in ordered]), b"")

    assert [each.key for each in read.objects] == ordered


def test_a_page_that_goes_on_says_how() -> None:
    assert parse_page(page(contents("a"), truncated=True, token="t+/=1"), b"").token == b"t+/=1"

    by_key = parse_page(page(contents("a"), truncated=True), b"")
    assert (by_key.is_last, by_key.token) == (False, None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "isn't XML"),
        (b"not XML at all", "isn't XML"),
        (page(contents("a"))[:-30], "isn't XML"),
        (b"<Error><Code>InternalError</Code></Error>", "is Error"),
        (b'<!DOCTYPE x [<!ENTITY e "eeee">]><ListBucketResult/>', "declares a type"),
        (page(contents("b"), contents("a")), "order"),
        (page(contents("a"), contents("a")), "order"),
        (page(contents("a", size="")), "no size"),
        (page(contents("a", size="-1")), "no size"),
        (page(contents("")), "without a key"),
        (page(truncated=True), "and not how"),
    ],
)
def test_what_can_not_be_merged_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(ListingError, match=said):
        parse_page(body, b"")


def test_a_page_continues_after_the_last_key_and_within_the_prefix() -> None:
    with pytest.raises(ListingError, match="order"):
        parse_page(page(contents("b")), b"", after=b"b")
    with pytest.raises(ListingError, match="prefix"):
        parse_page(page(contents("videos/a")), b"images/")


def test_capitals_come_before_small_letters_and_these_before_other_scripts() -> None:
    keys = ["B", "a", quote_plus("é"), quote_plus("￿"), quote_plus("🙂")]

    assert len(parse_page(page(*map(contents, keys)), b"").objects) == 5


def test_an_object_without_a_time_counts_as_old() -> None:
    assert parse_page(page(contents("a", modified="")), b"").objects[0].modified == -math.inf


def test_the_query_is_the_one_that_is_signed() -> None:
    asked = page_query("a b+ä/".encode(), after=b"a b+\xc3\xa4/x&y=z")

    assert asked == (
        b"encoding-type=url&list-type=2&max-keys=1000&prefix=a%20b%2B%C3%A4%2F&start-after=a%20b%2B%C3%A4%2Fx%26y%3Dz"
    )
    names = [name for name, _ in parse_qsl(asked.decode())]
    assert names == sorted(names)


def test_a_token_takes_the_place_of_a_key_and_no_prefix_is_left_out() -> None:
    asked = page_query(b"", after=b"a", token=b"t/1+=")

    assert asked == b"continuation-token=t%2F1%2B%3D&encoding-type=url&list-type=2&max-keys=1000"


@pytest.mark.parametrize(
    ("one", "other", "proven"),
    [
        ((4, MD5), (4, MD5), True),
        ((4, f"{MD5}-3"), (4, f"{MD5}-3"), True),
        ((4, MD5), (5, MD5), False),
        ((4, MD5), (4, f"{MD5}-1"), False),
        ((4, "CJDNqLPD1MMCEAE="), (4, "CJDNqLPD1MMCEAE="), False),
        ((0, "a"), (0, "b"), True),
    ],
)
def test_equal_etags_of_s3_prove_equal_bytes(one: tuple[int, str], other: tuple[int, str], proven: bool) -> None:
    assert ListedObject(b"a", *one, 0.0).proves(ListedObject(b"a", *other, 0.0)) == proven
