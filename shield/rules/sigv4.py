"""AWS Signature Version 4 for S3, in AWS's terms: canonical request, string to sign, scope, signing key.

Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", Amazon S3 API Reference.
In S3's canonical URI the path is encoded once. Other services encode it twice, which isn't supported.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

from shield.messages import Field

ALGORITHM = b"AWS4-HMAC-SHA256"
SERVICE = b"s3"
TERMINATOR = b"aws4_request"

UNSIGNED_PAYLOAD = b"UNSIGNED-PAYLOAD"
"""The payload hash of a request whose body isn't signed; suitable for requests without a body."""


def timestamp(at: float) -> bytes:
    """Epoch seconds as ISO 8601 basic format, `20130524T000000Z`; its first eight bytes are the scope's date."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ").encode()


def scope(date: bytes, region: bytes, service: bytes = SERVICE) -> bytes:
    """Credential scope of a day (`20130524`), region and service."""
    return b"/".join((date, region, service, TERMINATOR))


def signing_key(secret_key: bytes, date: bytes, region: bytes, service: bytes = SERVICE) -> bytes:
    """The key that signs all requests of one scope. It is valid for a day, and as secret as the secret key."""
    key = b"AWS4" + secret_key
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part, "sha256")
    return key


def canonical_request(
    method: bytes, path: bytes, query: bytes, *, fields: Iterable[Field], payload_hash: bytes
) -> bytes:
    """The canonical request of an encoded path, a canonical query and the fields to sign, with names in lower case.

    Values are trimmed, and runs of spaces in them become one space; lines of the same name are joined by commas.
    """
    named: dict[bytes, bytes] = {}
    for name, value in fields:
        trimmed = b" ".join(part for part in value.strip().split(b" ") if part)
        named[name] = named[name] + b"," + trimmed if name in named else trimmed
    ordered = sorted(named.items())
    lines = b"".join([name + b":" + value + b"\n" for name, value in ordered])
    names = b";".join([name for name, _ in ordered])
    return b"\n".join((method, path, query, lines, names, payload_hash))


def string_to_sign(at: bytes, request_scope: bytes, request: bytes) -> bytes:
    """The string to sign: algorithm, timestamp, scope and the SHA-256 of the canonical request."""
    return b"\n".join((ALGORITHM, at, request_scope, hashlib.sha256(request).hexdigest().encode()))


def signature(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256 of a string to sign with a signing key, in lower-case hex."""
    return hmac.digest(key, text, "sha256").hex().encode()


class Seal:
    """Makes `signature`s with one key in half the time: HMAC (RFC 2104) first hashes the key alone."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._outer = hashlib.sha256(padded.translate(_OUTER))

    def of(self, text: bytes) -> bytes:
        """The signature of a string to sign."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.hexdigest().encode()


_BLOCK = 64  # bytes that SHA-256 takes at once; signing keys are shorter
_INNER = bytes([byte ^ 0x36 for byte in range(256)])
_OUTER = bytes([byte ^ 0x5C for byte in range(256)])


def authorization(access_key_id: bytes, request_scope: bytes, signed_names: bytes, signed: bytes) -> bytes:
    """The value of Authorization; `signed_names` are as in the canonical request."""
    return b"%b Credential=%b/%b, SignedHeaders=%b, Signature=%b" % (
        ALGORITHM,
        access_key_id,
        request_scope,
        signed_names,
        signed,
    )
