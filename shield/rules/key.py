"""The canonical path, which cache key, signature and log have in common, and the cache key.

Host and origin are never part of a key: a path is one entry, whichever origin has the object. Entries of the same
path are told apart by the key space, which names the set of their origins and the policy by which they are made
(`policy`).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

import xxhash

from shield.errors import RequestError

MAX_PARAMETERS = 100
"""Parameters allowed in a query: genuine requests have fewer, and sorting them costs time."""

# The usual case: no escapes, and no segment that is empty or begins with a dot.
is_simple: Final = re.compile(rb"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?").fullmatch
"""Matches paths that are canonical by whatever rules, unless they are too long."""

_simple_uri = re.compile(rb"(?:/[A-Za-z0-9_~:@!$&'()*+,;=-][A-Za-z0-9._~:@!$&'()*+,;=-]*)+/?").fullmatch

# RFC 3986 §2.2: the meaning of a reserved character depends on whether it is escaped. "%" belongs to them, too: %25
# followed by two digits must not be decoded twice.
_IN_PATHS = "/:@!$&'()*+,;=[]"
_MEANT = re.compile(rb"%(?=2[13456789acACbBfF]|3[abdfABDF]|40|5[bdBD])")
_MEANT_BUT_SLASHES = re.compile(rb"%(?=2[13456789acACbB]|3[abdfABDF]|40|5[bdBD])")
_LOWER_CASE = tuple((b"%" + text, b"%" + text.upper()) for text in b"2a 2b 2c 2f 3a 3b 3d 3f 5b 5d".split())

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Disguised dot segments: with a parameter, or next to a separator that isn't a plain slash. Some servers resolve
# them, others take them for names.
_DOTS, _SEPARATOR = rb"(?:\.|%2[eE]){1,2}", rb"\\|%2[fF]|%5[cC]"
_HIDDEN_DOTS = re.compile(
    rb"(?:%b)%b(?=[/\\;]|%%2[fF]|%%5[cC]|%%3[bB]|\Z)|/%b(?=;|%%3[bB]|%b)" % (_SEPARATOR, _DOTS, _DOTS, _SEPARATOR)
)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_RAW_REFUSED = re.compile(rb"[\x00-\x20\x7f]")
_NOT_GRAPHIC = re.compile(rb"[^!-~]")
_LONGEST_ESCAPE = 3
_SLASHES = re.compile(rb"/{2,}")

# Parameters that an S3 API or a similar one honours, lower case. On a request with our signature, each of them would
# let the client do or see something that is reserved for the key's owner.
_S3_NAMES = frozenset(
    # objects, buckets and their subresources: S3 API reference (all operations), also served by Ceph and MinIO
    b"abac accelerate acl analytics annotation annotation-prefix annotationname attributes bucket-region compose"
    b" cors delete encryption id intelligent-tiering inventory legal-hold lifecycle location logging"
    b" metadataannotationtable metadataconfiguration metadatainventorytable metadatajournaltable metadatatable"
    b" metrics notification object-lock ownershipcontrols partnumber policy policystatus publicaccessblock"
    b" renameobject replication requestpayment restore retention select select-type session tagging torrent"
    b" uploadid uploads versionid versioning versions website"
    # listings
    b" allow-unordered continuation-token delimiter encoding-type end-offset end_marker fetch-owner key-marker"
    b" list-type marker max-annotation-results max-buckets max-directory-buckets max-keys max-parts max-uploads"
    b" part-number-marker prefix start-after start-offset upload-id-marker version-id-marker"
    # signatures of version 2, of Google and of B2
    b" authorization awsaccesskeyid expires googleaccessid signature"
    # Google Cloud Storage's XML API
    b" billing defaultobjectacl encryptionconfig generation ifgenerationmatch ifgenerationnotmatch"
    b" ifmetagenerationmatch ifmetagenerationnotmatch metageneration storageclass upload_id userproject"
    # Ceph, MinIO, Swift, Wasabi
    b" append bulk-delete compliance events extract-archive force_delete lambdaarn mdsearch multipart-manifest"
    b" policy-status position replication-metrics replication-reset symlink tempurl usage x-id".split()
)
_S3_PREFIXES = (
    b"response-",  # overrides of response fields
    b"x-amz-",
    b"x-goog-",
    b"x-minio-",
    b"x-rgw-",
    b"x-wasabi-",
    b"rgwx-",  # Ceph, between its zones
    b"temp_url_",  # Swift
    b"b2cache",  # B2: overrides of response fields, as the next two
    b"b2content",
    b"b2expires",
)


@dataclass(frozen=True, slots=True)
class KeyRules:
    """The treatment of spellings of a path that HTTP leaves open. `max_key_bytes` limits the decoded object key.

    `spelling` is the form in which a path is sent and stored. "s3" is S3's encoding (`A-Za-z0-9-._~/` bare, others
    %XX), for object storages, where a reserved character and its escape are equivalent. "uri" is that of RFC 3986
    §6.2.2, for web servers, where they differ. Only "uri" keeps an encoded slash.
    """

    duplicate_slashes: Literal["merge", "keep", "reject"] = "merge"
    encoded_slash: Literal["keep", "decode", "reject"] = "decode"
    max_key_bytes: int = 1024  # S3's own limit
    spelling: Literal["s3", "uri"] = "s3"


class CacheKey(NamedTuple):  # one per request: half of what a frozen dataclass costs to make
    """The identity of a resource: canonical text, and its xxh3 digest of 16 bytes.

    Entries are found by the digest, and their text is compared before they count as hits.
    """

    text: bytes
    digest: bytes


def canonical_path(raw: bytes, rules: KeyRules) -> bytes:
    """The canonical spelling of a path: RFC 3986 §6.2.2, plus S3's encoding if the rules say so.

    `raw` is the target up to its first "?". Escapes are decoded once; "+" is a plus. Keys with a segment "." or ".."
    can't be named. Raises RequestError 400 for an invalid path, or one that hides such a segment in a form that some
    servers decode (`..;`, `..%2F`, `..%5C`), and 414 for a key that is too long.
    """
    if len(raw) > _LONGEST_ESCAPE * (rules.max_key_bytes + 1):
        raise RequestError(414, "key-too-long")  # checked first, before any parsing
    in_uris = rules.spelling == "uri"
    if (_simple_uri if in_uris else is_simple)(raw) and len(raw) <= rules.max_key_bytes:
        return raw
    decoded = _decoded(raw, rules)
    if in_uris:
        decoded = _decoded_but_reserved(raw, rules) if b"%" in raw else raw
    path = _without_dot_segments(decoded) if b"/." in decoded else decoded
    if in_uris and path.startswith(b"//"):
        path = b"/" + path.lstrip(b"/")  # RFC 3986 §4.2: a reference that begins with "//" names a host
    if rules.duplicate_slashes != "keep" and b"//" in path:
        if rules.duplicate_slashes == "reject":
            raise RequestError(400, "duplicate-slash")
        path = _SLASHES.sub(b"/", path)
    if (key_length(path) if in_uris else len(path) - 1) > rules.max_key_bytes:
        raise RequestError(414, "key-too-long")
    return quote_from_bytes(path, safe=_IN_PATHS + "%" if in_uris else "/").encode()


def spellings(path: bytes) -> tuple[bytes, ...]:
    """How keys may spell a path, or its beginning, that is written in any way: none of its segments is resolved."""
    return tuple(dict.fromkeys(spelled(path)))


def spelled(path: bytes) -> tuple[bytes, bytes, bytes]:
    """The same by the rules of routes: S3's spelling, that of URIs, and that of URIs for what is written plainly."""
    decoded, meant = unquote_to_bytes(path), _MEANT.sub(b"%25", path)
    in_uris = unquote_to_bytes(meant)
    for lower, upper in _LOWER_CASE:
        in_uris = in_uris.replace(lower, upper)
    return (
        quote_from_bytes(decoded, safe="/").encode(),
        quote_from_bytes(in_uris, safe=_IN_PATHS + "%").encode(),
        quote_from_bytes(decoded, safe=_IN_PATHS).encode(),
    )


def key_length(path: bytes) -> int:
    """The length in bytes of a canonical path's object key: without the leading slash, with escapes decoded."""
    return len(path) - 1 - 2 * path.count(b"%")


def canonical_query(raw: bytes, allowed: frozenset[bytes] | None) -> bytes:
    """Allowed parameters as `name=value&...`, escapes normalised, sorted by name and value; b"" if there are none.

    `raw` has no leading "?", `allowed` holds decoded names; None keeps the query unchanged. "+" is a space, as S3 and
    most servers read queries. Raises RequestError 400 if an allowed parameter is malformed, or if there are more than
    `MAX_PARAMETERS` in all.
    """
    if allowed is None:
        return _unchanged_query(raw)
    if not allowed or not raw:
        return b""
    if raw.count(b"&") >= MAX_PARAMETERS:
        raise RequestError(400, "too-many-parameters")
    kept: list[tuple[bytes, bytes]] = []
    for parameter in raw.split(b"&"):
        raw_name, _, raw_value = parameter.partition(b"=")
        name = _unescaped(raw_name)
        if name not in allowed:
            continue
        value = _unescaped(raw_value)
        if not raw_name.isascii() or not raw_value.isascii() or b"#" in parameter or _CONTROL.search(value):
            raise RequestError(400, "bad-query")
        if _BROKEN_ESCAPE.search(parameter):
            raise RequestError(400, "bad-escape")
        kept.append((quote_from_bytes(name, safe="").encode(), quote_from_bytes(value, safe="").encode()))
    kept.sort()  # by the encoded form, as SigV4 sorts
    return b"&".join([name + b"=" + value for name, value in kept])


def _unchanged_query(raw: bytes) -> bytes:
    if not raw.isascii() or b"#" in raw or _RAW_REFUSED.search(raw):
        raise RequestError(400, "bad-query")
    if _BROKEN_ESCAPE.search(raw):
        raise RequestError(400, "bad-escape")
    return raw


def is_s3_query(name: bytes) -> bool:
    """Whether a storage API gives a decoded parameter name a meaning; case is ignored, to be safe."""
    lower = name.lower()
    return lower in _S3_NAMES or lower.startswith(_S3_PREFIXES)


def forbidden_queries(allowed: Iterable[bytes]) -> list[bytes]:
    """The names in an allow-list that storage APIs honour, so that they must not be allowed; sorted."""
    return sorted(name for name in allowed if is_s3_query(name))


def key_of_text(text: bytes) -> CacheKey:
    """The key with this canonical text."""
    return CacheKey(text, xxhash.xxh3_128_digest(text))


def _decoded(raw: bytes, rules: KeyRules) -> bytes:
    """The path with its escapes decoded once. Raises RequestError 400 for an invalid or deceptive one."""
    if not raw.startswith(b"/"):
        raise RequestError(400, "not-a-path")
    if not raw.isascii():
        raise RequestError(400, "not-ascii")  # RFC 3986 §2: a URI is ASCII
    if b"#" in raw:
        raise RequestError(400, "fragment")  # RFC 9112 §3.2: never on the wire
    if _RAW_REFUSED.search(raw):
        raise RequestError(400, "control-byte")
    if _HIDDEN_DOTS.search(raw):
        raise RequestError(400, "hidden-dot-segment")
    if b"%" not in raw:
        return raw
    if _BROKEN_ESCAPE.search(raw):
        raise RequestError(400, "bad-escape")  # RFC 3986 §2.1
    if rules.encoded_slash == "reject" and (b"%2F" in raw or b"%2f" in raw):
        raise RequestError(400, "encoded-slash")
    decoded = _unquoted(raw)
    if _CONTROL.search(decoded):
        raise RequestError(400, "control-byte")
    try:
        decoded.decode()
    except UnicodeDecodeError:
        raise RequestError(400, "not-utf-8") from None  # S3: keys are UTF-8
    return decoded


def _decoded_but_reserved(raw: bytes, rules: KeyRules) -> bytes:
    """A path that `_decoded` accepts, with the escapes of reserved characters kept, in upper case (RFC 3986 §6.2.2.1,
    §6.2.2.2).
    """
    meant = _MEANT if rules.encoded_slash == "keep" else _MEANT_BUT_SLASHES
    decoded = _unquoted(meant.sub(b"%25", raw))
    for lower, upper in _LOWER_CASE:
        decoded = decoded.replace(lower, upper)
    return decoded


def _without_dot_segments(path: bytes) -> bytes:
    """RFC 3986 §5.2.4 on decoded bytes; never climbs above the root."""
    segments = path.split(b"/")
    kept: list[bytes] = []
    for segment in segments[1:]:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")  # a trailing dot segment names a directory: keep its slash
    return b"/" + b"/".join(kept)


def _unescaped(text: bytes) -> bytes:
    return _unquoted(text.replace(b"+", b"%20")) if b"%" in text or b"+" in text else text


def _unquoted(text: bytes) -> bytes:
    """Text with its escapes decoded, in one C call where urllib takes a step for each escape."""
    if _NOT_GRAPHIC.search(text) or _BROKEN_ESCAPE.search(text):
        return unquote_to_bytes(text)
    return binascii.a2b_qp(text.replace(b"=", b"=3D").replace(b"%", b"="))
