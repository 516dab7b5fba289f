"""Listings of buckets, which origins send."""

from __future__ import annotations

from itertools import pairwise

from shield.audit.listing import ListedObject, ListingError, parse_page
from tests.fuzz.target import Target

PREFIXES = (b"", b"images/")
SPACE = b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
OBJECT = (
    b"<Contents><Key>images/a+b%2Bc</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified>"
    b"<ETag>&quot;9a0364b9e99bb480dd25e1f0284c8555&quot;</ETag><Size>4</Size></Contents>"
)
END = b"</ListBucketResult>"


def check_page(data: bytes) -> None:
    for prefix in PREFIXES:
        try:
            page = parse_page(data, prefix)
        except ListingError as error:
            assert str(error).isprintable() and len(str(error)) < 1500
            continue
        assert all(one.key < other.key for one, other in pairwise(page.objects))
        assert all(_is_sound(each, prefix) for each in page.objects)
        assert page.objects or page.is_last or page.token
        if page.objects:
            _goes_on_after(data, prefix, page.objects)


def _is_sound(listed: ListedObject, prefix: bytes) -> bool:
    return bool(listed.key) and listed.key.startswith(prefix) and 0 <= listed.size < 10**19


def _goes_on_after(data: bytes, prefix: bytes, objects: tuple[ListedObject, ...]) -> None:
    """A page that comes once more is refused: an audit never goes round in circles."""
    try:
        parse_page(data, prefix, after=objects[-1].key)
    except ListingError:
        return
    raise AssertionError("the same page was taken twice")


TARGETS = {
    "listing": Target(
        check_page,
        (
            SPACE + b"<EncodingType>url</EncodingType>" + OBJECT + OBJECT.replace(b"a+b", b"b") + END,
            SPACE + OBJECT + b"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>" + END,
            SPACE + b"<IsTruncated>true</IsTruncated>" + END,
            b'<?xml version="1.0" encoding="UTF-8"?>' + SPACE + OBJECT + END,
            b'<?xml version="1.0" encoding="utf-16"?>' + SPACE + OBJECT + END,
            b'<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult>&b;</ListBucketResult>',
            b"<Error><Code>InternalError</Code></Error>",
        ),
        (
            b"<Key>",
            b"</Key>",
            b"<Size>",
            b"%00",
            b"%FF",
            b"&#10;",
            b"&#1114111;",
            b"<![CDATA[",
            b"]]>",
            b"<Contents>",
        ),
    ),
}
