"""How a healthy S3 server answers: objects with validators, conditions and ranges, errors as XML."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from xml.sax.saxutils import escape

from tests.doubles.ledger import Received
from tests.doubles.pattern import Body
from tests.doubles.steps import Bytes, Head, Step

REQUEST_ID = "4442587FB7D0A2F9"
KNOWN = {
    "PermanentRedirect": (301, "The bucket you are attempting to access must be addressed using another endpoint."),
    "AuthorizationHeaderMalformed": (400, "The authorization header that you provided is not valid."),
    "ExpiredToken": (400, "The provided token has expired."),
    "InvalidRequest": (400, "Missing required header for this request: x-amz-content-sha256"),
    "InvalidToken": (400, "The provided token is malformed or otherwise invalid."),
    "XAmzContentSHA256Mismatch": (
        400,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    ),
    "AccessDenied": (403, "Access Denied"),
    "InvalidAccessKeyId": (403, "The AWS Access Key Id you provided does not exist in our records."),
    "InvalidObjectState": (403, "The operation is not valid for the object's storage class"),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the current time is too large."),
    "SignatureDoesNotMatch": (403, "The request signature we calculated does not match the one you provided."),
    "NoSuchBucket": (404, "The specified bucket does not exist."),
    "NoSuchKey": (404, "The specified key does not exist."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "ServiceUnavailable": (503, "Service is unable to handle request."),
    "SlowDown": (503, "Please reduce your request rate."),
}


@dataclass(frozen=True)
class Refusal:
    """An error as S3 knows it: its code, the status when it isn't the code's usual one, more elements of its XML."""

    code: str
    status: int | None = None
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Object:
    """An object's bytes and the fields that belong to it; `etag` and `last-modified` are always among them."""

    body: Body
    fields: Mapping[str, str]

    @classmethod
    def of(cls, body: Body, fields: Mapping[str, str], *, modified: float) -> Object:
        """With the validators S3 would give it, where `fields` has none of its own."""
        own = {name.lower(): value for name, value in fields.items()}
        known = {
            "last-modified": formatdate(modified, usegmt=True),
            "etag": f'"{_etag(body)}"',
            "accept-ranges": "bytes",
            "content-type": "binary/octet-stream",
        }
        return cls(body, {**known, **own})

    def answer(self, request: Received, now: float) -> list[Step]:
        """What GetObject and HeadObject answer, by the order of RFC 9110 §13.2.2."""
        refused = self._precondition(request, now)
        if refused is not None:
            return refused
        length = len(self.body)
        start, stop, status = 0, length, 200
        wanted = request.get("range")
        if wanted is not None and self._range_holds(request):
            span = _span(wanted, length)
            if span is not None and span[0] >= span[1]:
                extra = {"content-range": f"bytes */{length}"}
                return error(request, Refusal("InvalidRange"), now=now, fields=extra)
            if span is not None:
                (start, stop), status = span, 206
        fields = {**_common(now), **self.fields, "content-length": str(stop - start)}
        if status == 206:
            fields["content-range"] = f"bytes {start}-{stop - 1}/{length}"
        head = Head(status, fields)
        return [head] if request.method == "HEAD" else [head, Bytes(self.body, start, stop)]

    def _precondition(self, request: Received, now: float) -> list[Step] | None:
        match, none_match = request.get("if-match"), request.get("if-none-match")
        since, unchanged = request.get("if-modified-since"), request.get("if-unmodified-since")
        etag, modified = self.fields["etag"], self.fields["last-modified"]
        if match is not None:
            if not _listed(etag, match):
                return error(request, Refusal("PreconditionFailed"), now=now)
        elif unchanged is not None and _later(modified, unchanged):
            return error(request, Refusal("PreconditionFailed"), now=now)
        if none_match is not None:
            fresh = _listed(etag, none_match)
        else:
            fresh = since is not None and not _later(modified, since)
        if fresh:
            kept = {name: value for name, value in self.fields.items() if name != "content-type"}
            return [Head(304, {**_common(now), **kept})]
        return None

    def _range_holds(self, request: Received) -> bool:
        condition = request.get("if-range")
        return condition is None or condition in (self.fields["etag"], self.fields["last-modified"])


def error(request: Received, refusal: Refusal, *, now: float, fields: Mapping[str, str] | None = None) -> list[Step]:
    """An error as S3 words it: XML with a code; the head alone for HEAD."""
    usual, message = KNOWN.get(refusal.code, (500, refusal.code))
    status = usual if refusal.status is None else refusal.status
    elements = {
        "Code": refusal.code,
        "Message": message,
        **refusal.details,
        "Resource": request.path,
        "RequestId": REQUEST_ID,
    }
    inner = "".join([f"<{name}>{escape(text)}</{name}>" for name, text in elements.items()])
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()
    told = {"content-type": "application/xml", "content-length": str(len(body)), **(fields or {})}
    head = Head(status, {**_common(now), **told})
    return [head] if request.method == "HEAD" else [head, Bytes(body)]


def _common(now: float) -> dict[str, str]:
    return {"x-amz-request-id": REQUEST_ID, "date": formatdate(now, usegmt=True), "server": "AmazonS3"}


def _etag(body: Body) -> str:
    """The MD5 of an object; one that is too large for that was uploaded in parts."""
    if len(body) > 32 << 20:
        return f"{hashlib.md5(repr(body).encode(), usedforsecurity=False).hexdigest()}-2"
    return hashlib.md5(body[:], usedforsecurity=False).hexdigest()


def _listed(etag: str, condition: str) -> bool:
    tags = [tag.strip() for tag in condition.split(",")]
    return "*" in tags or etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in tags]


def _later(left: str, right: str) -> bool:
    try:
        return parsedate_to_datetime(left) > parsedate_to_datetime(right)
    except ValueError:
        return True


def _span(value: str, length: int) -> tuple[int, int] | None:
    """Half-open span of a single range; None for what S3 ignores; empty when nothing satisfies it."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", value.strip())
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        return max(0, length - int(last)), length
    if last and int(last) < int(first):
        return None
    return int(first), min(length, int(last) + 1 if last else length)
