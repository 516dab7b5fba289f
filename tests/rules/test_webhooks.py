"""Webhooks: signed as others check it, bounded, and tried again for a while."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace

import pytest

from shield.rules.alarms import AlarmEvent, AlarmKind, AlarmNews, NodeAlarm
from shield.rules.webhooks import (
    ATTEMPTS,
    MOST_WAITING,
    AlarmBook,
    Webhook,
    WebhookCounts,
    WebhookFormat,
    key_of,
    message_id,
    request_of,
    signature,
    wait_after,
)

NOW = 1_750_000_000.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAGER = Webhook("pager", "https://pager.example/hook", key_of(SECRET))
CHAT = Webhook("chat", "https://chat.example/T/B", None, frozenset([AlarmKind.DISK]), WebhookFormat.SLACK)


def event(number: int = 1, *, kind: AlarmKind = AlarmKind.DISK, told: AlarmNews = AlarmNews.BEGAN) -> AlarmEvent:
    resolved = NOW + 60.0 if told is AlarmNews.RESOLVED else None
    alarm = NodeAlarm(f"fra-1/{kind.value}/{number}", kind, "/a", "tier <ssd>: /a: out", NOW, NOW, None, resolved)
    return AlarmEvent(f"{alarm.id}/{told.value}", NOW, told, alarm)


def test_a_signature_is_that_of_the_specification() -> None:
    # The example of Standard Webhooks' own documentation and libraries.
    body = b'{"test": 2432232314}'

    made = signature(key_of(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_request_is_signed_over_its_id_time_and_body() -> None:
    request = request_of(PAGER, event(), "fra-1", NOW + 0.9)

    fields = dict(request.fields)
    signed = f"{fields['webhook-id']}.{fields['webhook-timestamp']}.".encode() + request.body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert fields["webhook-signature"] == f"v1,{wanted}"
    assert fields["webhook-timestamp"] == "1750000000"


def test_the_body_says_what_happened_and_what_to_do() -> None:
    said = json.loads(request_of(PAGER, event(), "fra-1", NOW).body)

    assert (said["type"], said["timestamp"]) == ("alarm.began", "2025-06-15T15:06:40Z")
    data = said["data"]
    assert (data["node"], data["kind"], data["subject"], data["severity"]) == ("fra-1", "disk", "/a", "warning")
    assert (data["since"], data["resolved"], data["resolved_at"]) == ("2025-06-15T15:06:40Z", False, None)
    assert data["text"] == "tier <ssd>: /a: out" and data["remedy"] and data["runbook"].startswith("docs/")


def test_the_end_of_an_alarm_is_another_message_about_the_same_one() -> None:
    began, over = event(), event(told=AlarmNews.RESOLVED)

    said = [json.loads(request_of(PAGER, each, "fra-1", NOW).body) for each in (began, over)]

    assert said[0]["data"]["id"] == said[1]["data"]["id"]
    assert (said[1]["type"], said[1]["data"]["resolved"]) == ("alarm.resolved", True)
    assert message_id(began) != message_id(over)


def test_a_chat_gets_text_that_is_no_markup() -> None:
    request = request_of(CHAT, event(), "fra-1", NOW)

    (text,) = json.loads(request.body).values()
    assert text.startswith("[warning] fra-1: disk /a: tier &lt;ssd&gt;: /a: out\n")
    assert "webhook-signature" not in dict(request.fields)


@pytest.mark.parametrize("secret", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_???"])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        key_of(secret)


def secret_of(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(size)).decode()


@pytest.mark.parametrize(
    "secret", [secret_of(23), secret_of(65), SECRET + "\n", SECRET.replace("9", "9_"), SECRET[6:]]
)
def test_a_secret_that_is_too_short_too_long_or_garbled_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        key_of(secret)


@pytest.mark.parametrize("size", [24, 64])
def test_the_shortest_and_the_longest_secret_are_taken(size: int) -> None:
    assert key_of(secret_of(size)) == bytes(size)


def test_a_test_goes_to_webhooks_of_other_kinds_too_and_text_that_is_no_unicode_is_sent() -> None:
    told = event(kind=AlarmKind.TEST)
    odd = replace(told, alarm=replace(told.alarm, text="/a\udcff"))

    assert CHAT.wants(told)
    assert json.loads(request_of(CHAT, odd, "fra-1", NOW).body)["text"].count("/a?") == 1


def test_a_webhook_gets_the_kinds_that_it_wants() -> None:
    book = AlarmBook().posted([event(1), event(2, kind=AlarmKind.RAMP)], [PAGER, CHAT], NOW)

    assert [(each.webhook, each.event.alarm.kind) for each in book.outbox] == [
        ("pager", AlarmKind.DISK),
        ("chat", AlarmKind.DISK),
        ("pager", AlarmKind.RAMP),
    ]


def test_the_oldest_of_too_many_messages_is_dropped_and_counted() -> None:
    events = [event(number) for number in range(MOST_WAITING + 3)]

    book = AlarmBook().posted(events, [PAGER], NOW)

    assert [each.event for each in book.outbox] == events[3:]
    assert book.counts == {"pager": WebhookCounts(dropped=3)}


def test_messages_to_a_webhook_that_is_gone_are_forgotten() -> None:
    book = AlarmBook().posted([event()], [PAGER, CHAT], NOW)

    assert {each.webhook for each in book.posted([], [CHAT], NOW).outbox} == {"chat"}


def test_a_failed_attempt_is_repeated_later_and_given_up_in_the_end() -> None:
    book, now, waits = AlarmBook().posted([event()], [PAGER], NOW), NOW, list[float]()
    for attempt in range(1, ATTEMPTS + 1):
        dispatch = book.due("pager", now)
        assert dispatch is not None and dispatch.attempts == attempt - 1
        wait = wait_after(attempt, status=500, retry_after=None, chance=0.5)
        book = book.refused(dispatch, now, wait)
        if wait is not None:
            assert book.due("pager", now + wait - 0.1) is None
            waits.append(wait)
            now += wait

    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    assert not book.outbox and book.counts == {"pager": WebhookCounts(failed=1)}


@pytest.mark.parametrize(
    ("status", "retry_after", "chance", "wait"),
    [
        (None, None, 0.0, 4.0),
        (503, None, 0.75, 5.5),
        (429, 60.0, 0.5, 60.0),
        (429, 1.0, 0.5, 5.0),
        (503, 1e9, 0.5, 300.0),
        (410, None, 0.5, None),
    ],
)
def test_the_next_attempt_waits(
    status: int | None, retry_after: float | None, chance: float, wait: float | None
) -> None:
    assert wait_after(1, status=status, retry_after=retry_after, chance=chance) == wait


def test_a_message_that_another_worker_has_sent_counts_once() -> None:
    book = AlarmBook().posted([event()], [PAGER], NOW)
    dispatch = book.outbox[0]

    once = book.taken(dispatch)

    assert once.taken(dispatch) is once
    assert once.counts == {"pager": WebhookCounts(sent=1)}


def test_a_due_time_of_a_clock_that_was_put_back_doesnt_hold_a_message_up() -> None:
    book = AlarmBook().posted([event()], [PAGER], NOW + 86400.0)

    assert book.due("pager", NOW) is not None


def test_a_book_is_read_as_it_was_written() -> None:
    book = AlarmBook(deaths=(NOW,), deaths_seen=7).posted([event(1), event(2)], [PAGER, CHAT], NOW)
    book = book.taken(book.outbox[0]).refused(book.outbox[1], NOW, 5.0)

    assert AlarmBook.read(json.loads(json.dumps(book.plain()))) == book


def test_kinds_of_a_later_version_are_left_out() -> None:
    plain = AlarmBook().posted([event(1), event(2)], [PAGER], NOW).plain()
    plain["outbox"][0][1]["alarm"]["kind"] = "another"

    assert [each.event for each in AlarmBook.read(plain).outbox] == [event(2)]
