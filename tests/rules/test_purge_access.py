"""Who may send PURGE."""

from __future__ import annotations

import pytest

from shield.messages import Request
from shield.rules.access import AcceptedSecrets
from shield.rules.addresses import Networks
from shield.rules.purge_access import PurgeAccess

SECRETS = AcceptedSecrets([b"first-secret-of-two", b"second-secret"])


def objection(access: PurgeAccess, peer: str = "192.0.2.1", **fields: str) -> str | None:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return access.objection(Request.of(b"PURGE", b"/a", lines), peer)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"authorization": "Bearer first-secret-of-two"}, None),
        ({"authorization": "bearer  second-secret"}, None),
        ({"fastly_key": "second-secret"}, None),
        ({"fastly_key": "second"}, "purge-secret-wrong"),
        ({"authorization": "Basic second-secret"}, "purge-secret-missing"),
        ({"authorization": "Bearer", "fastly_key": ""}, "purge-secret-missing"),
        ({}, "purge-secret-missing"),
    ],
)
def test_a_secret_admits(fields: dict[str, str], found: str | None) -> None:
    assert objection(PurgeAccess(SECRETS, None), **fields) == found


def test_an_address_admits_by_itself_if_no_secret_is_set_and_only_with_it_otherwise() -> None:
    networks = Networks(["192.0.2.0/24", "unix"])

    assert objection(PurgeAccess(None, networks)) is None
    assert objection(PurgeAccess(None, networks), "unix") is None
    assert objection(PurgeAccess(None, networks), "198.51.100.1") == "purge-address"
    assert objection(PurgeAccess(SECRETS, networks), fastly_key="second-secret") is None
    assert objection(PurgeAccess(SECRETS, networks)) == "purge-secret-missing"
    assert objection(PurgeAccess(SECRETS, networks), "198.51.100.1", fastly_key="second-secret") == "purge-address"


def test_nothing_admits_nobody() -> None:
    assert objection(PurgeAccess(None, None)) == "purge-off"
