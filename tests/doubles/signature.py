"""Signature Version 4 as S3 checks it: from the request as it came, sharing no code with what signs it.

Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)" and "Error responses",
Amazon S3 API Reference. Requests signed in their query (presigned) count as unsigned.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote_from_bytes, unquote_to_bytes

from tests.doubles.ledger import Received
from tests.doubles.s3 import Refusal

SKEW = 15 * 60.0  # seconds that the client's clock may differ from the origin's
UNSIGNED = "UNSIGNED-PAYLOAD"

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/, ]+)/(\d{8})/([^/, ]*)/([^/, ]*)/aws4_request, ?"
    r"SignedHeaders=([^, ]+), ?Signature=([0-9a-f]{64})"
)
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Verifier:
    """Knows one access key. `verifier(request, now)` is None when the request may be answered."""

    access_key_id: str
    secret_key: str
    region: str
    session_token: str | None = None

    def __call__(self, request: Received, now: float) -> Refusal | None:
        given = request.get("authorization")
        if given is None:
            return Refusal("AccessDenied")
        found = _AUTHORIZATION.fullmatch(given)
        if found is None:
            return Refusal("AuthorizationHeaderMalformed")
        access_key_id, day, region, service, names, signature = found.groups()
        if access_key_id != self.access_key_id:
            return Refusal("InvalidAccessKeyId")
        if (region, service) != (self.region, "s3"):
            return Refusal("AuthorizationHeaderMalformed", details={"Region": self.region})
        token = request.get("x-amz-security-token")
        if token != self.session_token:
            return Refusal("InvalidAccessKeyId" if token is None else "InvalidToken")
        return self._timely(request, day, now) or self._signed(request, day, names.split(";"), signature)

    def _timely(self, request: Received, day: str, now: float) -> Refusal | None:
        stamp = request.get("x-amz-date")
        try:
            at = datetime.strptime(stamp or "", _STAMP).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return Refusal("AccessDenied")
        if abs(at - now) > SKEW:
            return Refusal("RequestTimeTooSkewed")
        return None if stamp is not None and stamp.startswith(day) else Refusal("AuthorizationHeaderMalformed")

    def _signed(self, request: Received, day: str, names: list[str], signature: str) -> Refusal | None:
        present = {name for name, _ in request.fields}
        if "host" not in names or names != sorted(set(names)):
            return Refusal("AuthorizationHeaderMalformed")
        if any(name.startswith("x-amz-") and name not in names for name in present):
            return Refusal("AccessDenied")  # S3: "There were headers present in the request which were not signed"
        payload = request.get("x-amz-content-sha256")
        if payload is None:
            return Refusal("InvalidRequest")
        if not hmac.compare_digest(self._expected(request, day, names, payload), signature):
            return Refusal("SignatureDoesNotMatch")
        if payload not in (UNSIGNED, hashlib.sha256(request.body).hexdigest()):
            return Refusal("XAmzContentSHA256Mismatch")
        return None

    def _expected(self, request: Received, day: str, names: list[str], payload: str) -> str:
        path, _, query = request.target.partition("?")
        lines = "".join([f"{name}:{_canonical_value(request, name)}\n" for name in names])
        canonical = "\n".join(
            [request.method, _encoded(path, safe="/"), _canonical_query(query), lines, ";".join(names), payload]
        )
        scope = f"{day}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{request.get('x-amz-date')}\n{scope}\n{digest}"
        key = f"AWS4{self.secret_key}".encode()
        for part in [*scope.split("/"), text]:
            key = hmac.digest(key, part.encode(), "sha256")
        return key.hex()


def _encoded(text: str, *, safe: str) -> str:
    """Decoded once and encoded once by AWS's rules, so that it doesn't matter which of both the client wrote."""
    return quote_from_bytes(unquote_to_bytes(text.encode("latin-1")), safe=safe + "-_.~")


def _canonical_query(query: str) -> str:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return "&".join(
        [
            f"{name}={value}"
            for name, value in sorted((_encoded(n, safe=""), _encoded(v, safe="")) for n, _, v in pairs)
        ]
    )


def _canonical_value(request: Received, name: str) -> str:
    return ",".join([re.sub(" +", " ", value.strip()) for key, value in request.fields if key == name])
