"""Every error that crosses a package's border. Each states what an operator needs to act; none carries a secret.

`OSError`, parser and socket errors are translated into these once, where they arise.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class ShieldError(Exception):
    """Base of all our errors."""


class ConfigError(ShieldError):
    """Settings that can't be used; `problems` holds one readable line each (file, line, key, expected)."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    @property
    def report(self) -> str:
        """All problems and their number, for the sender of a command."""
        count = len(self.problems)
        return "\n".join([*self.problems, f"{count} problem{'s' if count > 1 else ''}; these settings can't be used"])


class RequestError(ShieldError):
    """A client's request that is refused before any lookup: `status` and a short `reason` token.

    `allow` lists the methods that a 405 permits (RFC 9110 §10.2.1). `detail` is the reason for logs and Cache-Status.
    """

    ends_connection: ClassVar[bool] = True
    """Whether a connection is closed on which it was found; False: its request is sound."""

    def __init__(self, status: int, reason: str, *, allow: bytes = b"GET, HEAD") -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason
        self.detail = reason
        self.allow = allow

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Further fields of the response."""
        return ((b"allow", self.allow),) if self.status == 405 else ()


class OwnPathError(RequestError):
    """A target that the node itself answers, and that names no object."""

    def __init__(self, query: bytes) -> None:
        super().__init__(404, "own-path")
        self.query = query


class StoreError(ShieldError):
    """A tier that couldn't do its work."""


class CredentialsError(ShieldError):
    """Credentials that can't be obtained from their source."""


class Fault(Enum):
    """Why an attempt at an origin failed. The value is the word in logs, metrics and Cache-Status detail."""

    CONNECT = "connect"  # refused, unreachable, reset before a request was written
    RESOLVE = "resolve"  # no address for the name, and none from before
    TLS = "tls"  # certificate, host name or handshake
    CONNECT_TIMEOUT = "connect-timeout"
    POOL_TIMEOUT = "pool-timeout"  # no connection was free in time
    FIRST_BYTE_TIMEOUT = "first-byte-timeout"  # no whole head in time, or before the deadline
    BETWEEN_BYTES_TIMEOUT = "between-bytes-timeout"
    TOTAL_TIMEOUT = "total-timeout"  # of a body
    RESET = "reset"  # the connection died after the request was written
    MALFORMED = "malformed"  # not HTTP, or ambiguous
    TOO_LARGE = "head-too-large"
    SHORT_BODY = "short-body"  # ended before its stated length or last chunk
    DAMAGED = "damaged"  # the body doesn't match its stated checksum
    SERVER = "server"  # 5xx, or an S3 code that means the origin can't serve
    THROTTLED = "throttled"  # 429, 503 SlowDown and their like
    OVER_LIMIT = "over-limit"  # it wasn't asked: so many fetches as it bears were there already for too long
    AUTH = "auth"  # credentials, signature or clock refused
    FORBIDDEN = "forbidden"  # this object is refused: denied while others aren't, or withdrawn (451)
    COLD = "cold"  # archived object that must be restored first
    VALIDATOR = "validator"  # 304 or 206 for another version than the one named
    DIFFERS = "differs"  # a copy with another validator than the one named, which proves no change of the original
    REFUSED = "refused"  # any other response that is no object: redirects, unexpected 4xx
    BUDGET = "budget"  # not asked for the rest of a body that it broke off: its budget for that is spent
    OVER_BUDGET = "over-budget"  # it wasn't asked: a budget of egress is spent, and says that fetches are refused
    PACED = "paced"  # not asked in time: all origins are bad, and get a few fetches at a time
    CANCELLED = "cancelled"  # we gave up: no request waits any more


class OriginError(ShieldError):
    """One failed attempt at `origin`. `fault` classifies it; `detail` is for logs.

    `retry_after` is the Retry-After of the origin in seconds.
    """

    def __init__(
        self, origin: str, fault: Fault, detail: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"origin {origin}: {fault.value}: {detail}")
        self.origin = origin
        self.fault = fault
        self.detail = detail
        self.status = status
        self.retry_after = retry_after
