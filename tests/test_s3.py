"""A node in front of an S3 server that isn't ours and checks signatures: moto, in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.node import FakeClock, Shield, settings_of

pytestmark = pytest.mark.slow

BODY = bytes(range(256)) * 100
SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, Any]]:
    """Settings of an origin that has `BODY` at images/a.png."""
    command = [sys.executable, "-m", "shield.cli.demo_origin", "eu-central-1", "images"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        said = json.loads(process.stdout.readline())
        for order in (b"put images/a.png %d\n" % len(BODY) + BODY, b"secure\n"):
            process.stdin.write(order)
            process.stdin.flush()
            assert process.stdout.readline() == b"ok\n"
        yield {
            "provider": "aws",
            "endpoint": said["url"],
            "addressing": "path",
            "region": "eu-central-1",
            "bucket": "images",
            "access_key_id": said["access_key_id"],
            "secret_key": said["secret_key"],
        }
        process.stdin.close()


def shielding(bucket: dict[str, Any], clock: FakeClock, **changes: Any) -> Shield:
    return Shield(settings_of({}, origins={"fra": bucket}, **changes), clock=clock)


@pytest.mark.parametrize("path", ["/images/a.png", "/images//%61.png"])
def test_a_signed_request_is_answered_in_any_spelling(bucket: dict[str, Any], clock: FakeClock, path: str) -> None:
    with shielding(bucket, clock) as shield:
        answers = [shield.get(path), shield.get(path), shield.get(path, [("range", "bytes=3-5")])]

    assert [(answer.status, answer.hit) for answer in answers] == [(200, False), (200, True), (206, True)]
    assert answers[0].body == answers[1].body == BODY and answers[2].body == BODY[3:6]


def test_a_storage_is_asked_for_the_checksum_that_it_keeps(bucket: dict[str, Any], clock: FakeClock) -> None:
    wants = [("want-repr-digest", "sha-256=9, md5=1")]

    with shielding(bucket, clock) as shield:
        asked = shield.get("/images/a.png", wants)
    with shielding(bucket, clock, response_fields={"digests": "off"}) as shield:
        unasked = shield.get("/images/a.png", wants)

    assert asked.get("repr-digest") == f"sha-256=:{SHA256}:, md5=:{MD5}:"
    assert unasked.status == 200 and unasked.get("repr-digest") is None


def test_a_wrong_secret_is_no_absence(bucket: dict[str, Any], clock: FakeClock) -> None:
    with shielding({**bucket, "secret_key": "wrong"}, clock) as shield:
        answer = shield.get("/images/a.png")

    assert (answer.status, answer.get("cache-status")) == (503, 'test-1; fwd=uri-miss; detail="fra=auth"')


def test_what_is_not_there_is_absent(bucket: dict[str, Any], clock: FakeClock) -> None:
    with shielding(bucket, clock) as shield:
        answer, head = shield.get("/images/b.png"), shield.get("/images/c.png", method="HEAD")

    assert (answer.status, head.status) == (404, 404)
