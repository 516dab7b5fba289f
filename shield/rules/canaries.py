"""What an origin's responses to a listing and to a canary, an object that it should have, say of its settings. Pure.

For each thing that can be wrong a sentence: what is wrong, and which setting, right or machine to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from html import unescape
from urllib.parse import quote_from_bytes, unquote_to_bytes

from shield.errors import Fault
from shield.rules import s3_errors

LISTING = b"encoding-type=url&list-type=2&max-keys=20"
"""The query that lists some of a bucket's keys, sorted as it is signed."""

SKEW_SECONDS = 60.0
"""By which clocks must differ to be worth a word."""

_CONTENT = re.compile(rb"<Contents>(.*?)</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>([^<]+)</Key>")
_SIZE = re.compile(rb"<Size>(\d+)</Size>")


class Grade(Enum):
    """An origin's verdict, the best first."""

    OK = "ok"
    WARNING = "warning"  # traffic is served, but not as it should be, or something couldn't be found out
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class About:
    """An origin in the settings: `endpoint` is its bucket's URL, `region` the one in signatures."""

    name: str
    endpoint: str
    bucket: str = ""
    region: str = ""
    signed: bool = True
    denied_is_absent: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """A response, as far as it matters here. `code` and `message` are those of an S3 error."""

    status: int
    code: str | None = None
    message: str = ""
    region: str | None = None  # the bucket's, if an error names it
    lists: bool = False  # it is the listing of a bucket

    def __str__(self) -> str:
        return f"{self.status} {self.code or ''}".strip()


@dataclass(frozen=True, slots=True)
class Missed:
    """No response, and why."""

    fault: Fault
    detail: str


Heard = Told | Missed


@dataclass(frozen=True, slots=True)
class CanaryEvidence:
    """What came. `listing` is the response to a listing, of a plain web server to its root; `got` that to the first
    byte of `canary`, which was `named` or else found in the listing. `offset` is the origin's clock minus ours.
    """

    listing: Heard
    canary: str | None = None
    named: bool = False
    got: Heard | None = None
    offset: float | None = None


@dataclass(slots=True)
class Findings:
    """The facts, None where they can't be known, and a sentence for each problem."""

    grade: Grade = Grade.OK
    reached: bool | None = None
    credentials: bool | None = None
    bucket: bool | None = None
    lists: bool | None = None
    holds: bool | None = None  # the canary
    ranges: bool | None = None
    problems: list[str] = field(default_factory=list)

    def say(self, grade: Grade, problem: str) -> None:
        if self.grade is not Grade.FAILED:
            self.grade = grade
        if problem not in self.problems:
            self.problems.append(problem)


def object_in(document: bytes) -> bytes | None:
    """The path of the first object in a listing that has a byte, else of the first; None if it has none."""
    is_encoded = b"<EncodingType>url" in document
    first = None
    for content in _CONTENT.finditer(document):
        key, size = _KEY.search(content[1]), _SIZE.search(content[1])
        if key is None:
            continue
        decoded = unquote_to_bytes(key[1].replace(b"+", b" ")) if is_encoded else _unescaped(key[1])
        path = b"/" + quote_from_bytes(decoded, safe="/").encode()
        if size is not None and int(size[1]):
            return path
        first = first or path
    return first


def judge(about: About, evidence: CanaryEvidence) -> Findings:
    """The verdict on an origin."""
    findings = Findings()
    listing = evidence.listing
    findings.reached = not isinstance(listing, Missed) or listing.fault in _ANSWERED
    if isinstance(listing, Missed):
        findings.say(Grade.FAILED, _missed(about, listing))
        return findings
    if evidence.offset is not None and abs(evidence.offset) >= SKEW_SECONDS:
        findings.say(Grade.WARNING, _skewed(evidence.offset))
    if about.signed:
        _judge_bucket(about, evidence, listing, findings)
    else:
        _judge_server(about, evidence, listing, findings)
    return findings


def _judge_bucket(about: About, evidence: CanaryEvidence, listing: Told, findings: Findings) -> None:
    if listing.lists:
        findings.credentials = findings.bucket = findings.lists = True
    elif listing.code == "AccessDenied":
        findings.lists = False
    _judge_object(about, evidence, findings)
    if not listing.lists and not findings.holds and listing.code != "AccessDenied":
        _refused(about, listing, findings)
    elif findings.lists is False and not about.denied_is_absent:
        findings.say(
            Grade.WARNING,
            "403 AccessDenied: its credentials may not list the bucket, so that absent objects are answered with 503 "
            "in place of 404: allow s3:ListBucket (deploy/iam), or set access_denied_is_absent",
        )
    if evidence.canary is None and findings.grade is not Grade.FAILED:
        empty = "the bucket is empty" if listing.lists else "it doesn't list its objects"
        findings.say(
            Grade.WARNING, f"{empty}, so that nothing shows whether they can be read: name one by --canary PATH"
        )


def _judge_server(about: About, evidence: CanaryEvidence, root: Told, findings: Findings) -> None:
    if root.status >= 500 and evidence.got is None:
        findings.say(Grade.FAILED, f"it answers {root}: it doesn't work itself")
    elif evidence.canary is None:
        findings.say(
            Grade.WARNING,
            "it answers, and nothing more is known of a plain web server: name an object by --canary PATH",
        )
    _judge_object(about, evidence, findings)


def _judge_object(about: About, evidence: CanaryEvidence, findings: Findings) -> None:
    """By the response to the first byte of the canary."""
    got, canary = evidence.got, evidence.canary
    if got is None:
        return
    if isinstance(got, Missed):
        findings.say(Grade.FAILED, _missed(about, got))
        return
    if got.status in (200, 206, 416):
        findings.holds = True
        findings.ranges = None if got.status == 416 else got.status == 206  # 416: it is empty
        if about.signed:
            findings.credentials = findings.bucket = True
        if findings.ranges is False:
            findings.say(
                Grade.WARNING,
                f"it ignores Range, asked for a byte of {canary}: large objects are fetched whole for each part, "
                "and not resumed",
            )
    elif got.code in ("NoSuchKey", "NoSuchVersion") or (not about.signed and got.status in (404, 410)):
        findings.holds = False
        if about.signed:
            findings.credentials = findings.bucket = True
        if evidence.named:
            findings.say(
                Grade.FAILED,
                f"{got}: it doesn't hold {canary}: it lags behind, or its objects are elsewhere; a route's strip and "
                "add count, and `shield explain` shows them",
            )
        # One that was listed and is gone a moment later is none of ours.
    elif got.code == "AccessDenied" or (not about.signed and got.status in (401, 403)):
        findings.say(Grade.FAILED, _denied(about, evidence, got, findings))
    elif got.code in ("InvalidObjectState", "ObjectNotInActiveTierError"):
        findings.holds = findings.credentials = findings.bucket = True
        findings.say(Grade.WARNING, f"{got}: {canary} is archived: restore it, or name another one by --canary PATH")
    elif not about.signed and 300 <= got.status < 400:
        findings.say(
            Grade.WARNING,
            f"it answers {got} to {canary}: redirections are passed to clients; set endpoint to its aim",
        )
    else:
        _refused(about, got, findings)


def _denied(about: About, evidence: CanaryEvidence, got: Told, findings: Findings) -> str:
    if not about.signed:
        return (
            f"{got}: it refuses {evidence.canary}: it wants credentials, which provider http doesn't send, or admits "
            "other addresses only"
        )
    if findings.lists is False:
        return (
            f"{got}: its credentials are refused, or may not read {evidence.canary}, or there is no such object: "
            "allow s3:GetObject (deploy/iam), and s3:ListBucket, which tells these apart"
        )
    return f"{got}: its credentials may not read {evidence.canary}: allow s3:GetObject (deploy/iam)"


def _refused(about: About, told: Told, findings: Findings) -> None:
    """An error that neither bucket nor object account for by being denied or absent."""
    code = told.code or ""
    if code in _OF_CREDENTIALS:
        findings.credentials = False
        text = _OF_CREDENTIALS[code]
    elif advice := s3_errors.elsewhere(told.status, told.code, told.region):
        text = f"{advice} (now {about.region}, {about.endpoint})"
    elif code == "NoSuchBucket":
        findings.bucket = False
        text = f"it has no bucket {about.bucket}: set bucket, or the endpoint and region that have it"
    elif told.status in (429, 503) or code == "SlowDown":
        text = "it is overloaded, or limits its clients: nothing more can be known now"
    elif told.status >= 500:
        text = "it doesn't work itself: nothing more can be known now"
    else:
        text = "".join(_unexpected(about, told))
    said = f": {told.message}" if told.message and code not in _PLAIN else ""
    findings.say(Grade.FAILED, f"{told}{said}: {text}")


def _unexpected(about: About, told: Told) -> Iterator[str]:
    if told.code is not None:
        yield "this isn't known here"
        return
    yield "that isn't how S3 answers: set endpoint to that of its S3 API"
    if about.endpoint.startswith("http://"):
        yield ", or write https:// if it wants TLS"


_PLAIN = frozenset(
    {"SignatureDoesNotMatch", "InvalidAccessKeyId", "NoSuchBucket", "RequestTimeTooSkewed", "ExpiredToken"}
)
"""Codes whose message adds nothing."""

_LOCKED = "the account or its key is locked: the provider has to say why"
_OF_CREDENTIALS = {
    "SignatureDoesNotMatch": "it computes another signature: set secret_key to the one that belongs to access_key_id",
    "InvalidAccessKeyId": "it knows no such access key: set access_key_id; a key may be of another account or "
    "provider, or have been deleted",
    "ExpiredToken": "session_token has expired: set access_key_id, secret_key and session_token anew",
    "TokenRefreshRequired": "session_token has expired: set access_key_id, secret_key and session_token anew",
    "InvalidToken": "session_token doesn't belong to access_key_id: set both, and secret_key, anew",
    "RequestTimeTooSkewed": "it refuses the time of our requests, and states no time that could be signed instead: "
    "set this machine's clock (NTP)",
    "RequestExpired": "it refuses the time of our requests: set this machine's clock (NTP)",
    "Unauthorized": "it doesn't accept access_key_id and secret_key: set both",
    "AccountProblem": _LOCKED,
    "AllAccessDisabled": _LOCKED,
    "NotSignedUp": _LOCKED,
    "UserSuspended": _LOCKED,
}


def _skewed(offset: float) -> str:
    which = "ahead of" if offset > 0 else "behind"
    return (
        f"its clock is {abs(offset):.0f} s {which} this machine's: requests are signed by its clock, but lifetimes "
        "and links that expire go by ours; set the wrong one (NTP)"
    )


_ANSWERED = frozenset({Fault.FIRST_BYTE_TIMEOUT, Fault.RESET, Fault.MALFORMED, Fault.TOO_LARGE})


def _missed(about: About, missed: Missed) -> str:
    """The reason for the lack of a response, and the remedy."""
    fault, detail = missed.fault, missed.detail
    if fault is Fault.RESOLVE:
        return f"{detail}: set endpoint to a name that resolves here, or fix this machine's DNS"
    if fault is Fault.CONNECT:
        return f"{detail}: nothing accepts connections there: set endpoint's host and port, or open the firewall"
    if fault is Fault.CONNECT_TIMEOUT and "TLS" in detail:
        return f"{detail}: {_untrusted('wrong')}, or raise timeouts.connect"
    if fault is Fault.CONNECT_TIMEOUT:
        return (
            f"{detail}: packets may be dropped on the way: set endpoint, open the firewall, or raise timeouts.connect"
        )
    if fault is Fault.TLS:
        return f"{detail}: {_untrusted(detail)}"
    if fault is Fault.FIRST_BYTE_TIMEOUT:
        return f"{detail}: it accepts connections and stays silent: look at it, or raise timeouts.first_byte"
    if fault in (Fault.RESET, Fault.MALFORMED) and about.endpoint.startswith("http://"):
        return f"{detail}: this isn't plain HTTP: write https:// in endpoint if it wants TLS, or set its port"
    return f"{fault.value}: {detail}"


def _untrusted(detail: str) -> str:
    said = detail.lower()
    if "expired" in said or "not yet valid" in said:
        return "it has to be renewed there, unless this machine's clock is wrong"
    if "mismatch" in said or "not valid for" in said:
        return "set endpoint to a name for which it has a certificate"
    if "issuer" in said or "self-signed" in said or "self signed" in said or "unable to get" in said:
        return "name a file with its authority in ca_file"
    if "version" in said or "record" in said or "wrong" in said:
        return "it may speak plain HTTP there: write http:// in endpoint, or set the port of TLS"
    return "set endpoint to where it speaks TLS"


def _unescaped(key: bytes) -> bytes:
    return unescape(key.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
