"""What an origin's error means: is the object absent, or can this origin just not say?

Statuses alone lie: 404 is a missing bucket, a missing object or a load balancer with nothing behind it; 403 is an
archived object, an expired key or, for who may not list a bucket, a missing object. So the XML error code decides,
and an answer without one never proves an absence (S3 API Reference, "Error responses").
"""

from __future__ import annotations

import re
from enum import Enum

from shield.errors import Fault
from shield.rules.providers import Provider


class Answer(Enum):
    """What an error answer says, and what the asker does."""

    ABSENT = "absent"  # no such object here: ask the next origin; all absent is a 404
    SERVER = "server"  # it can't serve now: ask the next
    THROTTLED = "throttled"  # it doesn't want to serve now: ask the next
    AUTH = "auth"  # our credentials, signature or clock: ask the next, tell a person
    FORBIDDEN = "forbidden"  # this object, by its own or the law's rules: ask the next, and serve it stale no longer
    COLD = "cold"  # archived, to be restored first: ask the next
    REFUSED = "refused"  # a mistake of ours or of its set-up: ask the next, tell a person


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
        # NoSuchBucket is none of these: a bucket that is gone says nothing of the object.
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

# Without alternatives: what an origin sends in anger must not take its time.
_CODE = re.compile(rb"<Code>([^<>]{1,100})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<>]{1,1000})</Message>")
_REGION = re.compile(rb"<Region>([A-Za-z0-9-]{1,64})</Region>")
_IS_REGION = re.compile(rb"[A-Za-z0-9-]{1,64}").fullmatch
_UNPRINTABLE = re.compile(r"[^ -~]+")


def error_code(body: bytes) -> tuple[str | None, str]:
    """Code and message of an S3 error document; None when it isn't one. The message is for people, and shortened.

    Read by pattern: the document is flat, and what an origin in trouble sends needn't be well-formed XML.
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
    """Whether an error refuses access without a word on why: to the object, or to our credentials (`denials`)."""
    return code == "AccessDenied" or (status == 403 and code not in _CODES)


def region(field: bytes | None, body: bytes) -> str | None:
    """The bucket's region, where an error names it: by x-amz-bucket-region, or in its document."""
    if field is not None and _IS_REGION(field):
        return field.decode()
    found = _REGION.search(body)
    return None if found is None else found[1].decode()


def elsewhere(status: int, code: str | None, region: str | None) -> str:
    """What to do about a bucket that is to be asked for elsewhere; "" where that isn't the matter."""
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
    """What an error status and code say.

    `denied_is_absent`: the key may read but not list, so that S3 answers AccessDenied for what isn't there.
    """
    if code == "AccessDenied" and denied_is_absent:
        return Answer.ABSENT
    known = _CODES.get(code) if code is not None else None
    if known is not None:
        return known
    if not provider.signed:  # no credentials of ours are in play
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
    """The fault of an answer that isn't ABSENT."""
    return _FAULTS[answer]


def passes(status: int) -> bool:
    """Whether a plain HTTP origin's answer is one for the client: a redirect, a refusal of its own.

    Not what says that it is absent or unwell, nor a verdict on conditions that were ours.
    """
    return 300 <= status < 500 and status not in (304, 404, 408, 410, 412, 416, 429)
