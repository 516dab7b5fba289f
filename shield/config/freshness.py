"""Settings of freshness, which may differ from route to route."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from shield.config.section import OrOff, Section, none_is_empty, off_is_none
from shield.config.units import Duration, ExpectedError, duration
from shield.rules.freshness import CREDENTIALS, FreshnessRules, InvalidAge, SetCookie, Unkeyed
from shield.rules.targeted import CDN

Directive = Literal["no-cache", "no-store", "max-age", "max-stale", "min-fresh", "only-if-cached", "pragma"]
_DIRECTIVES_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"enum": ["all", "none", True, False]},
            {"type": "array", "items": {"enum": list(get_args(Directive))}},
        ]
    }
)
_is_field_name = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}").fullmatch


def _directives(value: Any) -> Any:
    """All, none, one, or a list; YAML 1.1 reads `on` and `off` as truth values."""
    if off_is_none(value) is None:
        return ()
    if value is True or value in ("all", "true"):
        return get_args(Directive)
    if isinstance(value, str) and value not in get_args(Directive):
        raise ExpectedError(f"expected all, none, or a list of {' '.join(get_args(Directive))}")
    return (value,) if isinstance(value, str) else value


def _header_name(value: str) -> str:
    if not _is_field_name(value) or value.lower() in ("cache-control", "expires"):
        raise ExpectedError("expected a field's name, as CDN-Cache-Control")
    return value.lower()


def _statuses(value: Any) -> Any:
    if isinstance(value, Mapping) and not all(re.fullmatch("[45][0-9]{2}", str(status)) for status in value):
        raise ExpectedError("expected statuses from 400 to 599, as 404: 10s")
    return value


HeaderNames = Annotated[
    tuple[Annotated[str, AfterValidator(_header_name)], ...],
    BeforeValidator(none_is_empty),
    WithJsonSchema({"anyOf": [{"enum": ["none"]}, {"type": "array", "items": {"type": "string"}}]}),
]


class FreshnessSettings(Section):
    """Lifetimes of entries if origins state none, and limits for those that they state."""

    default_lifetime: Annotated[Duration | None, OrOff()] = duration(
        "1h",
        "Lifetime of an object without Cache-Control and Expires, like most in S3. With an hour, a replaced image "
        "doesn't stay for long; off: heuristic_fraction decides.",
    )
    heuristic_fraction: Annotated[Annotated[float, Field(gt=0, le=1)] | None, OrOff()] = Field(
        default=None,
        description="With default_lifetime off: lifetime as a share of the time since Last-Modified, 0.1 being usual "
        "(RFC 9111, 4.2.2). Off: such objects have no lifetime.",
        json_schema_extra={"default": "off"},
    )
    max_lifetime: Duration = duration(
        "366d", "Upper bound on lifetimes, whatever origins state: a typo doesn't last for ever."
    )
    forced_lifetime: Annotated[Duration | None, OrOff()] = Field(
        default=None,
        description="Lifetime of all responses but errors, which overrides everything from origins except no-store "
        "and private. Off: origins decide.",
        json_schema_extra={"default": "off"},
    )
    ignore_cache_control: bool = Field(
        default=False,
        description="Ignore all caching directives of origins, even no-store and private: for origins with public "
        "objects only. Off: they are honoured.",
    )
    negative_lifetime: Duration = duration(
        "10s",
        "Upper bound for 404, 405, 410, 414 and 501, which needn't state a lifetime, and for other client errors "
        "that state one. Short: replicas lag, and objects appear.",
    )
    negative: Annotated[Mapping[int, Duration], BeforeValidator(_statuses)] = Field(
        default_factory=dict,
        description="Bounds by status instead of `negative_lifetime`, as {404: 10s, 410: 1m}. 401, 403, 407, 408, "
        "421, 425, 429 and server errors other than 501 are stored only if listed here; then they needn't state a "
        "lifetime, unless default_lifetime is off.",
        json_schema_extra={"propertyNames": {"pattern": "^[45][0-9]{2}$"}, "default": {}},
    )
    grace: Duration = duration(
        "30s",
        "How long an expired entry is served while it is revalidated, unless stale-while-revalidate overrides it. "
        "Longer than any revalidation takes.",
    )
    error_grace: Duration = duration(
        "1d",
        "How long an expired entry is served while no origin can answer, unless stale-if-error overrides it. A day "
        "outlasts most outages.",
    )
    keep: Duration = duration(
        "7d", "How long an expired entry with a validator is kept for revalidation: a 304 is cheaper than a body."
    )
    honour_request_directives: Annotated[tuple[Directive, ...], BeforeValidator(_directives), _DIRECTIVES_SCHEMA] = (
        Field(
            default=(),
            description="Directives of clients' Cache-Control, and Pragma, that are honoured: all, none or a list. "
            "None, since they let any client cause requests to origins.",
            json_schema_extra={"default": "none"},
        )
    )
    honour_field_names: bool = Field(
        default=False,
        description="A no-cache or private that names fields applies to these alone: they aren't stored, and private "
        "ones are removed. Off: it applies to the whole response, as is allowed (RFC 9111, 5.2.2.4).",
    )
    set_cookie: SetCookie = Field(
        default="refuse",
        description="Responses that set cookies: refuse to store them, strip the cookies, or store them "
        "with cookies that all clients get. Refused, since most cookies belong to one person.",
    )
    invalid_age: InvalidAge = Field(
        default="ignore",
        description="An Age that isn't one number. ignore: other text is ignored, and of several numbers the "
        "first counts (RFC 9111, 5.1). stale: the response is too old.",
    )
    unkeyed: Unkeyed = Field(
        default="refuse",
        description="Errors for requests with forwarded fields that Vary doesn't name, and responses that repeat "
        "such a field: refuse to store them, since any client could cause them for all others; or store. Fields "
        "normalised by accept, accept_encoding and accept_language don't count.",
    )
    credentials: HeaderNames = Field(
        default=tuple(sorted(name.decode() for name in CREDENTIALS)),
        description="Request fields that identify the client. If one is forwarded, the response is for that request "
        "alone, unless it has public, s-maxage or must-revalidate (RFC 9111, 3.5), or its Vary names the field "
        "(except Authorization). none: only Authorization, for which RFC 9111 requires it.",
        json_schema_extra={"default": [name.decode() for name in sorted(CREDENTIALS)]},
    )
    targeted: HeaderNames = Field(
        default=(CDN.decode(),),
        description="Fields that override Cache-Control and Expires (RFC 9213), in order of precedence: your own "
        "name goes first. With Surrogate-Control among them, requests to origins of provider http have "
        "Surrogate-Capability, with the node's name. none: none.",
        json_schema_extra={"default": ["CDN-Cache-Control"]},
    )
    strip_targeted: bool = Field(
        default=True,
        description="Remove these fields from responses, except CDN-Cache-Control and Surrogate-Control, which the "
        "CDN may read. Off: they are forwarded.",
    )
    tags: HeaderNames = Field(
        default=tuple(name.decode() for name in FreshnessRules().tags),
        description="Fields with tags, for purging entries by group. none: none.",
        json_schema_extra={"default": ["Surrogate-Key", "Cache-Tag", "Cache-Groups"]},
    )
    strip_tags: bool = Field(
        default=False,
        description="Remove these fields from responses. Off: they are forwarded, since the CDN may use them.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_former_keys(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "strip_set_cookie" in value:
            raise ExpectedError("strip_set_cookie is gone; expected set_cookie: strip for true, refuse for false")
        return value

    def rules(self, *, node: str = "") -> FreshnessRules:
        """These settings as rules, for a node of this name."""
        given = self.model_dump()
        given["surrogate"] = node.encode()
        given["honour_request_directives"] = frozenset(self.honour_request_directives)
        given["credentials"] = frozenset(name.replace("_", "-").encode() for name in self.credentials)
        for key in ("targeted", "tags"):
            given[key] = tuple(name.encode() for name in given[key])
        return FreshnessRules(**given)
