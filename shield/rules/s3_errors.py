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
    COLD = "cold"  # archived, to be restored first: ask the next
    REFUSED = "refused"  # a mistake of ours or of its set-up: ask the next, tell a person


_FAULTS = {
    Answer.SERVER: Fault.SERVER,
    Answer.THROTTLED: Fault.THROTTLED,
    Answer.AUTH: Fault.AUTH,
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

_BY_STATUS = {401: Answer.AUTH, 403: Answer.AUTH, 408: Answer.SERVER, 429: Answer.THROTTLED}

# Without alternatives: what an origin sends in anger must not take its time.
_CODE = re.compile(rb"<Code>([^<>]{1,100})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<>]{1,1000})</Message>")
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


def classify(status: int, code: str | None, *, provider: Provider, denied_is_absent: bool = False) -> Answer:
    """What an error status and code say.

    `denied_is_absent`: the key may read but not list, so that S3 answers AccessDenied for what isn't there.
    """
    if code == "AccessDenied" and denied_is_absent:
        return Answer.ABSENT
    known = _CODES.get(code) if code is not None else None
    if known is not None:
        return known
    if status in (404, 410) and not provider.signed:
        return Answer.ABSENT
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


def skewed(code: str | None) -> bool:
    """Whether the origin says that its clock and ours differ too much."""
    return code in ("RequestTimeTooSkewed", "RequestExpired")
