"""Settings of alarms, and of the webhooks that carry them to people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator

from shield.config.places import KeyPath
from shield.config.section import File, Name, Section
from shield.config.units import Duration, ExpectedError, Portion, Size, duration, share, size
from shield.rules.alarms import AlarmKind
from shield.rules.webhooks import key_of

WEBHOOKS = ("alarms", "webhooks")

SECRETS = ("url", "secret")
"""Keys of a webhook whose values are never shown. Each may also be given as `<key>_file`."""

FILES = tuple([f"{key}_file" for key in SECRETS])
"""Keys that hold a path; in YAML, relative to the directory of that file."""

_KINDS = tuple([kind.value for kind in AlarmKind if kind is not AlarmKind.TEST])
_sendable = re.compile(r"[!-~]{1,2000}").fullmatch


def secrets(names: Iterable[str]) -> list[KeyPath]:
    """The keys of secrets of webhooks with these names."""
    return [(*WEBHOOKS, name, key) for name in names for key in SECRETS]


def _url(value: SecretStr) -> SecretStr:
    """Errors don't quote it: many of them are secrets."""
    text = value.get_secret_value()
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not _sendable(text) or not host or parts.scheme not in ("http", "https") or parts.fragment:
        raise ExpectedError("expected http:// or https:// and a host, without fragment")
    return value


def _signing(value: SecretStr) -> SecretStr:
    try:
        key_of(value.get_secret_value())
    except ValueError as error:
        raise ExpectedError(f'{error}; echo "whsec_$(openssl rand -base64 32)" makes one') from None
    return value


def _chosen(value: Any) -> Any:
    """`all` is every kind; one kind alone is a list of it."""
    if value == "all":
        return _KINDS
    return [value] if isinstance(value, str) else value


def _known(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or any(kind not in _KINDS for kind in value):
        raise ExpectedError(f"expected all, or some of {', '.join(_KINDS)}")
    return value


_EACH_SCHEMA = {"enum": list(_KINDS)}
Kinds = Annotated[
    tuple[str, ...],
    AfterValidator(_known),
    BeforeValidator(_chosen),
    WithJsonSchema({"anyOf": [{"enum": ["all", *_KINDS]}, {"type": "array", "minItems": 1, "items": _EACH_SCHEMA}]}),
]


class WebhookSettings(Section):
    """A place to which alarms are sent by POST, with JSON."""

    url: Annotated[SecretStr, AfterValidator(_url)] | None = Field(
        default=None, description="Its URL. It is never shown, since many contain a token."
    )
    url_file: File | None = Field(default=None, description="File that holds the URL.")
    secret: Annotated[SecretStr, AfterValidator(_signing)] | None = Field(
        default=None,
        description="Signs its requests, as Standard Webhooks has it: whsec_ and 24 to 64 bytes in base64. If "
        "omitted: requests aren't signed, so the receiver can't verify their sender.",
    )
    secret_file: File | None = Field(default=None, description="File that holds the secret.")
    events: Kinds = Field(
        default=_KINDS,
        description="Kinds of alarms that it gets: all, or a list of them.",
        json_schema_extra={"default": "all"},
    )
    format: Literal["standard", "slack"] = Field(
        default="standard",
        description='Of the body: `standard`, with everything; `slack`: {"text": ...}, which Mattermost, Rocket.Chat '
        "and Google Chat take, too.",
    )
    timeout: Duration = duration("10s", "For one attempt. Receivers should answer first, and work then.", least="1s")

    @model_validator(mode="after")
    def _has_a_place(self) -> WebhookSettings:
        if self.url is None:
            raise ExpectedError("expected url or url_file")
        return self


class SpikeSettings(Section):
    """From when on an origin's bytes or requests a minute are a spike. What is usual is the median of the same hour
    of the last seven days, later of the same day of the week; on a node younger than three days, of its last hours.
    """

    deviations: Annotated[float, Field(ge=1, le=1000)] = Field(
        default=6.0,
        description="Above the usual by so many median absolute deviations (of at least 15 % of it), scaled as a "
        "standard deviation: at 6, nearly twice as much as usual.",
    )
    money: Annotated[float, Field(ge=0, le=1e9)] = Field(
        default=1.0,
        description="And more expensive than usual by so much an hour, in the currency of the origin's price: less "
        "isn't worth a word.",
    )
    bytes: Size = size("1GB", "Without a price: and more than usual by so many bytes a minute.")


class AlarmSettings(Section):
    """Alarms for people. They are logged, and listed by the admin API, without any webhook, too."""

    webhooks: Mapping[Name, WebhookSettings] = Field(
        default_factory=dict,
        description="Where they are sent, by name. One worker sends them for the whole node, for some twenty minutes "
        "until a receiver takes them.",
        json_schema_extra={"additionalProperties": False},
    )
    spikes: SpikeSettings = Field(
        default_factory=SpikeSettings, description="When an origin gives far more than usual."
    )
    remind: Duration = duration("4h", "Between two messages on an alarm that lasts.", least="1min")
    error_share: Portion = share(
        "5%", "Share of the responses of a minute with a status of 5xx that is an alarm.", least=1e-6
    )
    error_requests: int = Field(
        default=100,
        ge=1,
        description="Responses in a minute without which that share means little.",
    )
    certificate_expiry: Duration = duration(
        "7d",
        "Time left until the certificate of tls expires. Renewal is mostly tried from 30 days on, so then it has "
        "failed for long.",
    )
    credentials_expiry: Duration = duration(
        "5min",
        "The same for credentials of origins that tell it. They are renewed 15 minutes before. Raise it where people "
        "replace them.",
    )
