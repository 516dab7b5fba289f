"""Alarms and traces made of settings: at the start, and when they change while a node serves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shield.build.alarms import alarm_terms
from shield.build.tracing import tracing_terms
from shield.config.loading import load
from shield.errors import ConfigError
from shield.rules.alarms import AlarmKind
from tests.build.test_renewal import Ground, of, read
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://chat.example/services/T0/hunter2"


def test_urls_and_secrets_may_be_in_files_beside_the_settings(tmp_path: Path, origin: FaultyOrigin) -> None:
    (tmp_path / "chat.url").write_text(URL + "\n")
    (tmp_path / "chat.secret").write_text(SECRET + "\n")
    hook = {"url_file": "chat.url", "secret_file": "chat.secret", "events": "disk", "format": "slack"}

    made = read(tmp_path, of(origin, alarms={"webhooks": {"chat": hook}}))

    (webhook,) = alarm_terms(made.settings).webhooks
    assert (webhook.url, webhook.kinds) == (URL, frozenset([AlarmKind.DISK])) and webhook.key is not None
    assert "hunter2" not in repr(webhook) + repr(made.settings)
    assert made.secrets["alarms", "webhooks", "chat", "url"] == str(tmp_path / "chat.url")
    assert not any(group[0] == "alarms" for group in made.files)


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ({}, "expected url or url_file"),
        ({"url": "ftp://hunter2"}, "expected http:// or https://"),
        ({"url": URL, "secret": "hunter2"}, "openssl rand -base64 32"),
        ({"url": URL, "events": ["disc"]}, "expected all, or some of"),
        ({"url": URL, "events": []}, "expected all, or some of"),
    ],
)
def test_a_webhook_that_cant_be_used_is_refused_with_a_remedy(
    tmp_path: Path, origin: FaultyOrigin, hook: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, of(origin, alarms={"webhooks": {"pager": hook}}))

    text = "\n".join(refused.value.problems)
    assert said in text and "alarms.webhooks.pager" in text and "hunter2" not in text


def test_what_others_may_read_on_the_way_is_noted(tmp_path: Path, origin: FaultyOrigin) -> None:
    hook = {"url": "http://alerts.example/hunter2"}

    made = read(tmp_path, of(origin, alarms={"webhooks": {"pager": hook}}))

    assert any("alarms are sent over plain HTTP" in note for note in made.notes)
    assert "hunter2" not in str(made.notes)


def test_the_fields_for_a_collector_are_secrets(tmp_path: Path, origin: FaultyOrigin) -> None:
    file = tmp_path / "shield.yaml"
    tracing = {"endpoint": "http://127.0.0.1:4318", "headers": {"x-api-key": "hunter2"}, "sample": {"per_second": 80}}
    file.write_text(json.dumps(of(origin, tracing=tracing)))
    file.chmod(0o644)

    made = load(file, environ={}, secret_directories=())

    terms = tracing_terms(made.settings, 4)
    assert terms is not None
    assert (terms.endpoint, terms.per_second) == ("http://127.0.0.1:4318/v1/traces", 20.0)
    assert terms.headers == (("x-api-key", "hunter2"),)
    assert ("tracing", "headers", "x-api-key") in made.secrets
    assert any("every user of this machine may read" in note for note in made.notes)
    assert "hunter2" not in repr(terms) + repr(made.settings)


def test_webhooks_and_limits_change_with_a_reload(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    before = {"webhooks": {"pager": {"url": URL}}}
    ground = Ground(tmp_path, clock, of(origin, alarms=before))
    with ground.shield as shield:
        assert list(shield.node.alarms.shown()["webhooks"]) == ["pager"]

        ground.reload(of(origin, alarms={"webhooks": {"chat": {"url": URL, "secret": SECRET}}}))

        assert shield.node.alarms.shown()["webhooks"]["chat"]["signed"] is True
        assert list(shield.node.alarms.shown()["webhooks"]) == ["chat"]
