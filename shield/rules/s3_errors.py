"""Classification of origins' errors: is the object absent, or can this origin only not tell?

Statuses alone mislead: 404 may mean a missing object, a missing bucket or a load balancer without backends; 403 an
archived object, an expired key or, for a key that may not list the bucket, a missing object. So the code in the XML
document decides (S3 API Reference, "Error responses"), and a response without one never proves an absence.
"""

from __future__ import annotations

import re
from enum import Enum

from shield.errors import Fault
from shield.rules.providers import Provider


class Answer(Enum):
    """The meaning of an error response, and the next step."""

    ABSENT = "absent"  # no such object here: try the next origin; 404 if all agree
    SERVER = "server"  # the origin can't serve now: try the next
    THROTTLED = "throttled"  # it limits its requests: try the next
    AUTH = "auth"  # it rejects our credentials, signature or clock: try the next, alert the operator
    FORBIDDEN = (
        "forbidden"  # access to this object is denied, perhaps for legal reasons: try the next, stop serving it
    )
    COLD = "cold"  # the object is archived and must be restored first: try the next
    REFUSED = "refused"  # our request or the configuration is wrong: try the next, alert the operator


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
        # NoSuchBucket isn't among them: a missing bucket doesn't prove that the object is absent.
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

# Without alternation, so that matching stays fast whatever an origin sends.
_CODE = re.compile(rb"<Code>([^<>]{1,100})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<>]{1,1000})</Message>")
_REGION = re.compile(rb"<Region>([A-Za-z0-9-]{1,64})</Region>")
_IS_REGION = re.compile(rb"[A-Za-z0-9-]{1,64}").fullmatch
_UNPRINTABLE = re.compile(r"[^ -~]+")


def error_code(body: bytes) -> tuple[str | None, str]:
    """Code and message of an S3 error document; (None, "") if it isn't one. The message, for logs, is shortened.

    Matched by pattern: the document is flat, and the output of a failing origin needn't be well-formed XML.
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
    """Whether an error denies access without telling whether the object or our credentials are the reason
    (`denials`).
    """
    return code == "AccessDenied" or (status == 403 and code not in _CODES)


def region(field: bytes | None, body: bytes) -> str | None:
    """The bucket's region, if an error states it: in x-amz-bucket-region (`field`), or in its document."""
    if field is not None and _IS_REGION(field):
        return field.decode()
    found = _REGION.search(body)
    return None if found is None else found[1].decode()


def elsewhere(status: int, code: str | None, region: str | None) -> str:
    """Advice for the operator on a bucket that is in another region or endpoint; "" for other errors."""
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
    """The meaning of an error, by status and code (None: no S3 error document).

    `denied_is_absent`: the access key may read but not list, so that S3 answers AccessDenied for absent objects.
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
    """The fault for an error. Raises KeyError for ABSENT, which is none."""
    return _FAULTS[answer]


def passes(status: int) -> bool:
    """Whether a plain HTTP origin's response is forwarded to the client: a redirect, or an error of its own choice.

    Absences, failures and results of our own conditions aren't.
    """
    return 300 <= status < 500 and status not in (304, 404, 408, 410, 412, 416, 429)
