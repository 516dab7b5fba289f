"""The expiry of a certificate, as the `cryptography` package says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shield.rules.certificates import parse_expiry, parse_key_algorithm


def certificate(until: datetime, *, issuer: str = "ca") -> bytes:
    """PEM of a certificate that is valid until then."""
    key = ec.generate_private_key(ec.SECP256R1())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cdn.example")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=90))
        .not_valid_after(until)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


@pytest.mark.parametrize("year", [1999, 2026, 2049, 2050, 2200])  # from 2050 on in another format
def test_it_is_the_end_of_validity(year: int) -> None:
    until = datetime(year, 3, 31, 23, 59, 58, tzinfo=UTC)

    assert parse_expiry(certificate(until)) == until.timestamp()


def test_of_a_chain_the_first_counts_and_text_around_it_doesnt() -> None:
    own, authority = datetime(2027, 1, 1, tzinfo=UTC), datetime(2035, 1, 1, tzinfo=UTC)
    chain = b"subject=cdn.example\n" + certificate(own, issuer="x" * 300) + b"issuer\n" + certificate(authority)

    assert parse_expiry(chain) == own.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----",
        certificate(datetime(2027, 1, 1, tzinfo=UTC))[:200] + b"\n-----END CERTIFICATE-----",
    ],
)
def test_what_is_no_certificate_has_none(text: bytes) -> None:
    assert parse_expiry(text) is None


def test_the_kind_of_a_key_is_told_by_its_algorithm() -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)

    assert parse_key_algorithm(certificate(until)) == bytes.fromhex("2a8648ce3d0201")  # id-ecPublicKey (RFC 5480)
    assert parse_key_algorithm(certificate(until)[:300]) is None
    assert parse_key_algorithm(b"") is None
