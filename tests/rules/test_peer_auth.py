"""Proof that a request comes from a node of the cluster."""

from __future__ import annotations

import pytest

from shield.rules.peer_auth import WINDOW, AskingNode, proof, sender_of

SECRET = b"0123456789abcdef0123456789abcdef"
NOW = 1_750_000_000.0


def said(**changes: object) -> bytes:
    sent = {"sender": b"fra-1", "ring": b"r1", "method": b"GET", "target": b"/a", "body": b"", "now": NOW, **changes}
    return proof(SECRET, **sent)  # type: ignore[arg-type]


def heard(value: bytes, secret: bytes | None = SECRET, **changes: object) -> AskingNode | str:
    read = {"method": b"GET", "target": b"/a", "body": b"", "now": NOW, **changes}
    return sender_of(value, None if secret is None else (b"another one" * 4, secret), **read)  # type: ignore[arg-type]


def test_a_node_is_known_by_its_proof() -> None:
    sender = heard(said(), now=NOW + WINDOW - 1)

    assert isinstance(sender, AskingNode)
    assert (sender.name, sender.ring) == ("fra-1", b"r1")


@pytest.mark.parametrize(
    ("value", "changes", "why"),
    [
        (b"", {}, "no proof"),
        (b"fra-1 12 r1", {}, "malformed proof"),
        (b"fra-1 -12 r1 00", {}, "malformed proof"),
        (b"fra-1 %b r1 00" % (b"9" * 5000), {}, "malformed proof"),
        (said(), {"secret": b"another" * 6}, "wrong secret"),
        (said(), {"target": b"/b"}, "wrong secret"),
        (said(), {"method": b"HEAD"}, "wrong secret"),
        (said(), {"body": b"x"}, "wrong secret"),
        (said().replace(b"fra-1", b"fra-2"), {}, "wrong secret"),
        (said().replace(b"r1", b"r2"), {}, "wrong secret"),
        (said(), {"now": NOW + WINDOW + 1}, "clock or replay"),
        (said(), {"now": NOW - WINDOW - 1}, "clock or replay"),
    ],
)
def test_what_proves_nothing_is_told_why(value: bytes, changes: dict[str, object], why: str) -> None:
    assert heard(value, **changes) == why  # type: ignore[arg-type]


def test_a_body_is_covered() -> None:
    assert isinstance(heard(said(body=b"order"), body=b"order"), AskingNode)


def test_behind_mutual_tls_no_secret_is_needed() -> None:
    sender = heard(proof(b"", sender=b"x", ring=b"r", method=b"GET", target=b"/", body=b"", now=0.0), None)

    assert isinstance(sender, AskingNode)
    assert sender.name == "x"
