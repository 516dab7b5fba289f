"""An authority made for a test, and the server contexts it vouches for: good, expired, for another host, unknown.

Keys are elliptic, so making one costs less than a millisecond.
"""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)

_BOTH_ENDS = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


class Authority:
    """`authority.server("localhost")` is a context for `FaultyOrigin(tls=...)`; clients trust `pem`."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._now = datetime.now(UTC)
        self._certificate = (
            self._draft(self._name, self._key.public_key(), since=self._now - DAY, until=self._now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        """The authority's own certificate, for `load_verify_locations(cadata=...)`."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def write(self, directory: Path) -> Path:
        """The same as a file, for settings that want one."""
        path = directory / "authority.pem"
        path.write_text(self.pem)
        return path

    def client(self) -> ssl.SSLContext:
        """A client's context that trusts this authority and no other."""
        context = ssl.create_default_context(cadata=self.pem)
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # set by some builds of Python: a cut is no end
        return context

    def server(self, *hosts: str, valid: tuple[timedelta, timedelta] = (-DAY, DAY)) -> ssl.SSLContext:
        """A server's context with a certificate for these names or addresses, valid from and until, from now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # ssl reads chains from files only
            file.write(b"".join(self._issue(hosts, valid)))
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def write_server(self, directory: Path, *hosts: str) -> tuple[Path, Path]:
        """Such a certificate and its key as two files."""
        certificate, key = directory / "server.pem", directory / "server.key"
        for path, pem in zip((certificate, key), self._issue(hosts, (-DAY, DAY)), strict=True):
            path.write_bytes(pem)
        return certificate, key

    def _issue(self, hosts: tuple[str, ...], valid: tuple[timedelta, timedelta]) -> tuple[bytes, bytes]:
        """Certificate and key in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        certificate = (
            self._draft(subject, key.public_key(), since=self._now + valid[0], until=self._now + valid[1])
            .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_BOTH_ENDS), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), private

    def expired(self, *hosts: str) -> ssl.SSLContext:
        """A server's context whose certificate was good until yesterday."""
        return self.server(*hosts, valid=(-2 * DAY, -DAY))

    def _draft(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, since: datetime, until: datetime
    ) -> x509.CertificateBuilder:
        own = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)
        )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
