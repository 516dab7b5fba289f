"""Request heads for one origin, signed if it needs that. The only place that holds an origin's credentials."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from shield.errors import Fault, OriginError
from shield.messages import Field
from shield.rules import sigv4
from shield.rules.providers import Location, Provider

log = logging.getLogger("shield.origin")

SKEW_NOTICED = 60.0
"""Seconds by which an origin's Date must differ from our clock before signatures follow it; less is noise."""

OURS = frozenset({b"accept-encoding", b"user-agent"})
"""Names of fields that each request has. Of further ones, another server than a storage gets the client's."""

_SENDABLE = re.compile(r"[!-~]+").fullmatch


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; `session_token` belongs to temporary ones. Not even `repr` shows a secret."""

    access_key_id: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires: float | None = None  # in epoch seconds, as far as known

    def __post_init__(self) -> None:
        for name in ("access_key_id", "secret_key", "session_token"):
            value = getattr(self, name)
            if value is not None and not _SENDABLE(value):
                raise ValueError(f"{name}: expected printable ASCII without blanks")


class Signer:
    """Makes complete request heads for one bucket.

    Parts common to all requests of a second are rendered once: date, scope, and the ends of head and canonical text.
    Signed are host, date and payload hash: all providers require these fields, and no proxy on the way may change
    them; and the request for checksums, since AWS rejects unsigned x-amz-*.
    """

    def __init__(
        self, provider: Provider, location: Location, credentials: Credentials | None, *, asks_checksums: bool = False
    ) -> None:
        """Without credentials, a provider that needs them gets no requests until `use` brings some."""
        self.owner = ""  # the name of the origin, for errors
        self.skew = 0.0  # the origin's clock minus ours, in seconds
        self._provider = provider
        self._location = location
        self._is_signed, self._base = provider.signed, location.base
        self.credentials = credentials if provider.signed else None
        """The credentials that sign requests, except for a trial's share. Read only."""
        self.signed_with = self.credentials
        """The credentials that signed the last head."""
        self._trial: Credentials | None = None
        self._every = 1  # of seconds: one in so many is the trial's
        self._asks_checksums = asks_checksums
        self._own: list[Field] = [
            (b"host", location.authority),
            (b"accept-encoding", provider.accept_encoding),
            (b"user-agent", b"shield"),
        ]
        self._plain = b" HTTP/1.1\r\n" + b"".join([b"%b: %b\r\n" % line for line in self._own])

        # per day
        self._day = b""
        self._seal = sigv4.Seal(b"")
        self._keyed: Credentials | None = None
        # per second
        self._second = -1
        self._after_query = b""  # of the canonical request
        self._before_hash = b""  # of the string to sign
        self._before_signature = b""  # of the head

    @property
    def place(self) -> bytes:
        """The bucket: where requests go, and under which prefix."""
        return b"%b%b" % (self._location.authority, self._location.base)

    @property
    def url(self) -> str:
        """The same as a URL, as far as it is common to all objects."""
        return f"{'https' if self._location.tls else 'http'}://{self.place.decode('ascii', 'replace')}"

    def use(self, credentials: Credentials) -> None:
        """Sign with these from the next request on. Ends a trial."""
        self.credentials = credentials if self._provider.signed else None
        self._trial = None
        self._second = -1

    def share(self, credentials: Credentials | None, every: int) -> None:
        """Sign with these during one second in `every`, and otherwise as before. None: no more."""
        self._trial, self._every = credentials, every
        self._second = -1

    def with_credentials(self, credentials: Credentials) -> Signer:
        """A signer of the same requests with these."""
        other = Signer(self._provider, self._location, credentials, asks_checksums=self._asks_checksums)
        other.skew = self.skew
        return other

    def rendered(self, fields: Sequence[Field]) -> bytes:
        """The end of unsigned heads with these further fields, for `plain_head`."""
        return b"".join(self._with(fields))

    def plain_head(self, method: bytes, path: bytes, rendered: bytes, *, query: bytes = b"") -> bytes:
        """A complete unsigned request head, whose fields are `rendered`."""
        base = self._base
        if query:
            return b"%b %b%b?%b%b\r\n" % (method, base, path, query, rendered)
        return b"%b %b%b%b\r\n" % (method, base, path, rendered)

    def correct_clock(self, origin_date: float, now: float) -> None:
        """Sign by the origin's clock, which showed `origin_date` when ours showed `now`."""
        self.skew = origin_date - now
        self._second = -1

    def head(
        self, method: bytes, path: bytes, now: float, extra_fields: Sequence[Field] = (), *, query: bytes = b""
    ) -> bytes:
        """A complete request head for an object's canonical path and query; `extra_fields` are added unsigned.

        Raises OriginError while there are no credentials, and the provider needs them.
        """
        target = self._base + path if self._base else path
        asked = target + b"?" + query if query else target
        plain, lines = self._plain, b""
        if extra_fields:
            plain, lines = self._with(extra_fields)
        if self._is_signed:
            return self._signed(method, asked, target, now, query=query, lines=lines)
        return b"%b %b%b%b\r\n" % (method, asked, plain, lines)

    def _signed(self, method: bytes, asked: bytes, target: bytes, now: float, *, query: bytes, lines: bytes) -> bytes:
        """The same with a signature; `lines` are of unsigned fields."""
        second = int(now + self.skew)
        if second != self._second:
            self._render(second)
        request = b"%b\n%b\n%b%b" % (method, target, query, self._after_query)
        text = self._before_hash + hashlib.sha256(request).hexdigest().encode()
        signed = self._seal.of(text)
        return b"%b %b%b%b\r\n%b\r\n" % (method, asked, self._before_signature, signed, lines)

    def _with(self, extra_fields: Sequence[Field]) -> tuple[bytes, bytes]:
        """The request line's end with our fields, and the lines of the others. Of a name in both a storage gets ours,
        another server the client's."""
        plain, others = self._plain, list(extra_fields)
        if any(name in OURS for name, _ in others):
            if self._provider.signed:
                others = [line for line in others if line[0] not in OURS]
            else:
                there = {name for name, _ in others}
                ours = [line for line in self._own if line[0] not in there]
                plain = b" HTTP/1.1\r\n" + b"".join([b"%b: %b\r\n" % line for line in ours])
        return plain, b"".join([b"%b: %b\r\n" % line for line in others])

    def canonical_request(self, method: bytes, path: bytes, now: float, *, query: bytes = b"") -> bytes | None:
        """The text that is hashed and signed, for comparison; None for unsigned requests. A token is redacted."""
        credentials = self.credentials
        if credentials is None:
            return None
        at = sigv4.timestamp(now + self.skew)
        token = b"<redacted>" if credentials.session_token else None
        fields = self._signed_fields(at, token)
        target = self._location.base + path
        return sigv4.canonical_request(method, target, query, fields=fields, payload_hash=sigv4.UNSIGNED_PAYLOAD)

    def _signed_fields(self, at: bytes, token: bytes | None) -> list[Field]:
        fields = [
            (b"host", self._location.authority),
            (b"x-amz-content-sha256", sigv4.UNSIGNED_PAYLOAD),
            (b"x-amz-date", at),
        ]
        if self._asks_checksums:
            fields.insert(1, (b"x-amz-checksum-mode", b"ENABLED"))
        if token is not None:
            fields.append((b"x-amz-security-token", token))
        return fields

    def _render(self, second: int) -> None:
        credentials = self.credentials if self._trial is None or second % self._every else self._trial
        if credentials is None:
            raise OriginError(self.owner, Fault.AUTH, "there are no credentials yet")
        at = sigv4.timestamp(second)
        day = at[:8]
        region = self._location.region
        if day != self._day or credentials is not self._keyed:
            self._seal = sigv4.Seal(sigv4.signing_key(credentials.secret_key.encode(), day, region))
            self._day, self._keyed = day, credentials
        self.signed_with = credentials
        token = credentials.session_token.encode() if credentials.session_token else None
        fields = self._signed_fields(at, token)
        whole = sigv4.canonical_request(b"", b"", b"", fields=fields, payload_hash=sigv4.UNSIGNED_PAYLOAD)
        self._after_query = whole[2:]  # after the ends of the empty method's and path's lines
        scope = sigv4.scope(day, region)
        self._before_hash = b"\n".join((sigv4.ALGORITHM, at, scope, b""))
        names = b";".join([name for name, _ in fields])
        own = b"".join([b"%b: %b\r\n" % line for line in fields[1:]])
        value = sigv4.authorization(credentials.access_key_id.encode(), scope, names, b"")
        self._before_signature = b"%b%bauthorization: %b" % (self._plain, own, value)
        self._second = second


def follow_clock(signer: Signer, shown: float | None, now: float) -> bool:
    """Correct a signer's clock by the origin's, which showed `shown`, if it is wrong. It may be why credentials were
    rejected.
    """
    if shown is None or abs(shown - (now + signer.skew)) < SKEW_NOTICED:
        return False
    log.warning("origin %s: its clock differs from ours by %+.0f s; signing by its clock", signer.owner, shown - now)
    signer.correct_clock(shown, now)
    return True
