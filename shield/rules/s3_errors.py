"""The meaning of an origin's error: is the object absent, or can this origin just not tell?

Statuses alone mislead: 404 is a missing bucket, a missing object or a load balancer without backends; 403 is an
archived object, an expired key or, for a key that may not list the bucket, a missing object. So the XML error code
decides, and a response without one never proves an absence (S3 API Reference, "Error responses").
"""

from __future__ import annotations

import re
from enum import Enum

from shield.errors import Fault
from shield.rules.providers import Provider


class Answer(Enum):
    """The meaning of an error response, and the next step."""

    ABSENT = "absent"  # no such object here: try the next origin; 404 if all say so
    SERVER = "server"  # it can't serve now: try the next
    THROTTLED = "throttled"  # it limits requests: try the next
    AUTH = "auth"  # our credentials, signature or clock: try the next, alert the operator
    FORBIDDEN = "forbidden"  # this object is refused, also legally: try the next, and stop serving it stale
    COLD = "cold"  # archived, to be restored first: try the next
    REFUSED = "refused"  # an error in our request or its set-up: try the next, alert the operator


_FAULTS = {
    Answer.SERVER: Fault.SERVER,
    Answer.THROTTLED: Fault.THROTTLED,
    Answer.AUTH: Fault.AUTH,
    Answer.FORBIDDEN: Fault.FORBIDDEN,
    Answer.COLD: Fault.COLD,
    Answer.REFUSED: Fault.REFUSED,
}

_CODES = {
    code: answer
    for answer, codes in {
        # Not NoSuchBucket: a missing bucket says nothing about the object.
        Answer.ABSENT: "NoSuchKey NoSuchVersion",
        Answer.SERVER: "InternalError OperationAborted RequestTimeout XMinioServerNotInitialized"
        " XMinioStorageFull XMinioBackendDown XMinioReadQuorum ServerBusy",
        Answer.THROTTLED: "SlowDown SlowDownRead SlowDownWrite ServiceUnavailable Busy Throttling"
        " ThrottlingException RequestThrottled RequestLimitExceeded BandwidthLimitExceeded TooManyRequests"
        " TooManyRequestsException RateLimitExceeded TemporarilyUnavailable DownloadCapExceeded"
        " TransactionCapExceeded BandwidthCapExceeded",
        Answer.AUTH: "AccessDenied InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken InvalidToken"
        " TokenRefreshRequired RequestTimeTooSkewed RequestExpired AuthorizationHeaderMalformed InvalidSecurity"
        " MissingSecurityHeader MissingAuthenticationToken NotSignedUp AccountProblem AllAccessDisabled"
        " CredentialsNotSupported Unauthorized UnauthorizedAccess UserSuspended InvalidPayer UserProjectMissing"
        " XAmzContentSHA256Mismatch MissingSecurityElement",
        Answer.COLD: "InvalidObjectState ObjectNotInActiveTierError",
    }.items()
    for code in codes.split()
}

_BY_STATUS = {
    401: Answer.AUTH,
    403: Answer.AUTH,
    408: Answer.SERVER,
    429: Answer.THROTTLED,
    451: Answer.FORBIDDEN,  # RFC 7725
}

# Without alternation: parsing an origin's error must stay fast.
_CODE = re.compile(rb"<Code>([^<>]{1,100})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<>]{1,1000})</Message>")
_REGION = re.compile(rb"<Region>([A-Za-z0-9-]{1,64})</Region>")
_IS_REGION = re.compile(rb"[A-Za-z0-9-]{1,64}").fullmatch
_UNPRINTABLE = re.compile(r"[^ -~]+")


def error_code(body: bytes) -> tuple[str | None, str]:
    """Code and message of an S3 error document; None if it isn't one. The message is for logs, and shortened.

    Read by pattern: the document is flat, and a failing origin's output needn't be well-formed XML.
    """
    if b"<Error" not in body:
        return None, ""
    code = _CODE.search(body)
    if code is None:
        return None, ""
    message = _MESSAGE.search(body)
    text = "" if message is None else message[1].decode("utf-8", "replace").strip()
    said = code[1].strip().decode("ascii", "replace")
    is_code = bool(said) and _UNPRINTABLE.search(said) is None
    return said if is_code else None, _UNPRINTABLE.sub(" ", text)[:200]


def denies(status: int, code: str | None) -> bool:
    """Whether an error refuses access without a reason: to the object, or to our credentials (`denials`)."""
    return code == "AccessDenied" or (status == 403 and code not in _CODES)


def region(field: bytes | None, body: bytes) -> str | None:
    """The bucket's region, if an error names it: by x-amz-bucket-region, or in its document."""
    if field is not None and _IS_REGION(field):
        return field.decode()
    found = _REGION.search(body)
    return None if found is None else found[1].decode()


def elsewhere(status: int, code: str | None, region: str | None) -> str:
    """Advice for a bucket that must be reached elsewhere; "" for other errors."""
    if status in (301, 308) or code in ("PermanentRedirect", "AuthorizationHeaderMalformed"):
        if region is None:
            return "the bucket is in another region: set the origin's region and endpoint to its own"
        return f"the bucket is in region {region}: set the origin's region to it, and its endpoint to that region's"
    if status == 307 or code in ("TemporaryRedirect", "Redirect"):
        where = "the bucket's region" if region is None else f"region {region}"
        return (
            f"the bucket isn't known there yet, as after its creation: set the origin's endpoint to that of {where}"
        )
    return ""


def classify(status: int, code: str | None, *, provider: Provider, denied_is_absent: bool = False) -> Answer:
    """The meaning of an error status and code.

    `denied_is_absent`: the key may read but not list, so that S3 answers AccessDenied for absent objects.
    """
    if code == "AccessDenied" and denied_is_absent:
        return Answer.ABSENT
    known = _CODES.get(code) if code is not None else None
    if known is not None:
        return known
    if not provider.signed:  # no credentials are involved
        if status in (404, 410):
            return Answer.ABSENT
        if status in (401, 403):
            return Answer.FORBIDDEN
    if status == 400 and provider.throttles_with_400:
        return Answer.THROTTLED
    if status >= 500:
        return Answer.SERVER
    return _BY_STATUS.get(status, Answer.REFUSED)


def fault(answer: Answer) -> Fault:
    """The fault for an error that isn't ABSENT."""
    return _FAULTS[answer]


def passes(status: int) -> bool:
    """Whether a plain HTTP origin's response is meant for the client: a redirect, or its own refusal.

    Not an absence, a failure, or a result of our own conditions.
    """
    return 300 <= status < 500 and status not in (304, 404, 408, 410, 412, 416, 429)
