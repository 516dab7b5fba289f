"""Alarms and webhooks, made of settings."""

from __future__ import annotations

from shield.alarms.watch import AlarmTerms
from shield.config.alarms import WebhookSettings
from shield.config.settings import Settings
from shield.rules.alarm_signs import AlarmLimits
from shield.rules.alarms import AlarmKind
from shield.rules.webhooks import Webhook, WebhookFormat, key_of


def alarm_terms(settings: Settings) -> AlarmTerms:
    """What settings say of alarms."""
    alarms = settings.alarms
    return AlarmTerms(
        alarms.remind,
        AlarmLimits(alarms.error_share, alarms.error_requests, alarms.certificate_expiry, alarms.credentials_expiry),
        tuple([_webhook(name, each) for name, each in alarms.webhooks.items()]),
    )


def _webhook(name: str, settings: WebhookSettings) -> Webhook:
    assert settings.url is not None  # the model requires it
    return Webhook(
        name,
        settings.url.get_secret_value(),
        None if settings.secret is None else key_of(settings.secret.get_secret_value()),
        frozenset(AlarmKind(kind) for kind in settings.events),
        WebhookFormat(settings.format),
        settings.timeout,
    )
