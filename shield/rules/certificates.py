"""When a certificate expires, and of which kind its key is: fields of X.509 (RFC 5280 §4.1) that Python's TLS doesn't
tell of its own.
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")
_SEQUENCE, _UTC_TIME, _TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0


def parse_expiry(pem: bytes) -> float | None:
    """The end of validity of the first certificate in a PEM file, as epoch seconds; None if that can't be told."""
    try:
        return _not_after(_at_validity(pem))
    except (ValueError, IndexError):  # binascii.Error is one, as is a date that can't be
        return None


def parse_key_algorithm(pem: bytes) -> bytes | None:
    """The algorithm of the key in the first certificate of a PEM file, as the bytes of its OID; None if that can't be
    told.
    """
    try:
        certificate = _at_validity(pem)
        certificate.skip()
        certificate.skip()  # the subject
        return certificate.enter(_SEQUENCE).enter(_SEQUENCE).skip()
    except (ValueError, IndexError):
        return None


def _at_validity(pem: bytes) -> _Der:
    """The fields of the first certificate from its validity on."""
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("no certificate")
    certificate = _Der(binascii.a2b_base64(found[1])).enter(_SEQUENCE).enter(_SEQUENCE)
    if certificate.tag == _VERSION:
        certificate.skip()
    for _ in range(3):  # the serial number, the algorithm, the issuer
        certificate.skip()
    return certificate


def _not_after(certificate: _Der) -> float:
    validity = certificate.enter(_SEQUENCE)
    validity.skip()
    tag, text = validity.tag, validity.skip().decode("ascii")
    if tag not in (_UTC_TIME, _TIME):
        raise ValueError("no time")
    if tag == _UTC_TIME:  # two digits of the year: §4.1.2.5.1
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


class _Der:
    """Goes through the values of DER (X.690 §8, §10). Raises ValueError or IndexError for input that isn't DER."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def tag(self) -> int:
        """That of the next value."""
        return self._data[self._at]

    def enter(self, tag: int) -> _Der:
        """The values within the next one, which must have this tag."""
        if self.tag != tag:
            raise ValueError("another tag")
        return _Der(self.skip())

    def skip(self) -> bytes:
        """The contents of the next value, which is passed."""
        length, begin = self._data[self._at + 1], self._at + 2
        if length & 0x80:
            digits = length & 0x7F
            if not 1 <= digits <= 4:
                raise ValueError("no definite length")
            length, begin = int.from_bytes(self._data[begin : begin + digits]), begin + digits
        if begin + length > len(self._data):
            raise ValueError("cut off")
        self._at = begin + length
        return self._data[begin : self._at]
