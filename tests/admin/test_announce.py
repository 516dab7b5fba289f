"""Announcements by the admin API: what is passed on, answered and refused."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest

from shield.admin.announce import announcing
from shield.admin.api import admin_api
from shield.announce import Announced
from shield.errors import StoreError
from shield.rules.announcements import Announcement

JSON = "application/json"


class Node:
    """Remembers what was announced."""

    def __init__(self, result: Announced | Exception) -> None:
        self.result = result
        self.told: list[Announcement] = []

    async def announce(self, announcement: Announcement) -> Announced:
        self.told.append(announcement)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def post(node: Node, body: bytes, **fields: str) -> httpx.Response:
    app = admin_api([announcing(node.announce)])
    headers = {name.replace("_", "-"): value for name, value in (fields or {"content_type": JSON}).items()}

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://admin") as client:
            return await client.post("/announce", content=body, headers=headers)

    return asyncio.run(run())


def test_an_announcement_is_carried_out_and_counted() -> None:
    node = Node(Announced(2, 1, 1, 0))

    answer = post(node, b'{"changed": ["/a"], "deleted": ["/b"], "prefetch": true}')

    assert answer.json() == {"announced": 2, "removed": 1, "prefetched": 1, "ignored": 0}
    assert node.told[0].prefetch and len(node.told[0].names) == 2


def test_sns_may_say_text_and_a_browser_may_not() -> None:
    body = b'{"Type": "Notification", "Message": "{\\"Records\\": []}"}'
    node = Node(Announced(0, 0, 0, 0))

    assert post(node, body, content_type="text/plain", x_amz_sns_message_type="Notification").status_code == 200
    assert post(node, body, content_type="text/plain").status_code == 415
    assert len(node.told) == 1


def test_the_url_of_a_subscription_is_shown_and_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    body = b'{"Type": "SubscriptionConfirmation", "SubscribeURL": "http://169.254.169.254/latest"}'

    with caplog.at_level(logging.WARNING):
        answer = post(Node(Announced(0, 0, 0, 1)), body)

    assert answer.json()["confirm"] == "http://169.254.169.254/latest"
    assert "SNS wants this subscription confirmed: open http://169.254.169.254/latest" in caplog.text


def test_an_unknown_bucket_is_an_error_if_nothing_else_was_announced() -> None:
    body = b'{"action": "PutObject", "bucket": "x", "object": {"key": "a"}}'

    answer = post(Node(Announced(0, 0, 0, 1, ("x",))), body)

    assert answer.status_code == 400
    assert answer.json()["problems"] == ["no origin has the bucket x: see origins.NAME.bucket"]
    assert post(Node(Announced(1, 0, 0, 1, ("x",))), body).status_code == 200


def test_what_cant_be_done_is_told() -> None:
    node = Node(StoreError("disk full"))

    assert post(node, b"{}").status_code == 400
    assert post(node, b'{"new": ["http://[x/"]}').status_code == 400
    assert post(node, b'{"new": ["/a"]}').json()["problems"] == ["disk full"]
