"""Settings of routes, and of freshness, which may differ from route to route."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from shield.config.access import RouteAccess
from shield.config.fields import ResponseFieldSettings
from shield.config.section import FieldName, MediaType, Name, OrOff, Section, Text, matching, off_is_none
from shield.config.units import Duration, ExpectedError, Size, duration, size
from shield.rules.fields import RouteFields
from shield.rules.freshness import CREDENTIALS, FreshnessRules, InvalidAge, SetCookie, Unkeyed
from shield.rules.key import KeyRules
from shield.rules.locations import PathMapping, Rewriting
from shield.rules.policy import policy_name
from shield.rules.providers import Location, Provider
from shield.rules.ranking import OriginFacts, Strategy
from shield.rules.routes import Route
from shield.rules.targeted import CDN
from shield.rules.vary import Forwarding

Directive = Literal["no-cache", "no-store", "max-age", "max-stale", "min-fresh", "only-if-cached", "pragma"]
_DIRECTIVES_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"enum": ["all", "none", True, False]},
            {"type": "array", "items": {"enum": list(get_args(Directive))}},
        ]
    }
)
Method = Literal["GET", "HEAD", "OPTIONS"]
_is_field_name = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}").fullmatch


def _none_is_empty(value: Any) -> Any:
    return () if value in (None, "none", False) else value


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


def _strategy(value: Any) -> Any:
    if value == "nearest":
        raise ExpectedError(
            "nearest needs measured times, which this version doesn't take; expected ordered, with the nearest "
            "listed first, or primary-first, weighted, cheapest"
        )
    return value


Language = Annotated[
    str,
    matching("[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*", "a language tag, as en or pt-BR"),
    AfterValidator(str.lower),
]
HeaderNames = Annotated[
    tuple[Annotated[str, AfterValidator(_header_name)], ...],
    BeforeValidator(_none_is_empty),
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
    )
    max_lifetime: Duration = duration(
        "366d", "Upper bound on lifetimes, whatever origins state: a typo doesn't last for ever."
    )
    forced_lifetime: Annotated[Duration | None, OrOff()] = Field(
        default=None,
        description="Lifetime of all responses but errors, which overrides everything from origins except no-store "
        "and private. Off: origins decide.",
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


class QuerySettings(Section):
    """The query parameters that are part of the object's URL."""

    allow: tuple[Text, ...] | Literal["all"] = Field(
        default=(),
        description="Parameters that are kept, sorted; all others are dropped, since otherwise each spelling of a "
        "query would be an entry. Parameters that S3 honours in signed requests can't be allowed; `all`, which keeps "
        "queries unchanged, is for origins of provider http.",
    )


class RouteSettings(Section):
    """The mapping of the paths below a prefix to objects."""

    match: Text = Field(
        default="/",
        description="Prefix of paths, by whole segments: /images matches /images/x, not /imagesx. The longest wins.",
    )
    strip: Text = Field(default="", description="Removed from the start of the path: /images turns /images/x into x.")
    add: Text = Field(default="", description="Added to the front of the path afterwards: /v2 makes the key v2/x.")
    origins: tuple[Name, ...] = Field(
        default=(),
        description="Origins that have these objects, in the order in which they are tried. Empty: all, as listed.",
    )
    choose: Annotated[Literal["ordered", "primary-first", "weighted", "cheapest"], BeforeValidator(_strategy)] = (
        Field(
            default="ordered",
            description="The origin that is tried first; the others follow if it fails. ordered: as listed. "
            "primary-first: the primary. weighted: by key, each for a share of the keys in proportion to its weight. "
            "cheapest: by price.",
        )
    )
    query: QuerySettings = Field(default_factory=QuerySettings, description="The query parameters that are kept.")
    duplicate_slashes: Literal["merge", "keep", "reject"] | None = Field(
        default=None,
        description="// in a path: read as /, kept (S3 keys may have it), or refused with 400. If omitted: keep if "
        "all of the route's origins are of provider http, since their paths may contain URLs; else merge.",
    )
    encoded_slash: Literal["keep", "decode", "reject"] | None = Field(
        default=None,
        description="%2F in a path: kept, read as /, or refused with 400. If omitted: keep if all of the route's "
        "origins are of provider http; else decode, as S3 does.",
    )
    freshness: FreshnessSettings = Field(
        default_factory=FreshnessSettings, description="Omitted keys are as in the top-level `freshness`."
    )
    methods: tuple[Method, ...] = Field(
        default=("GET", "HEAD"),
        description="Allowed methods, always including GET; others get 405. Shield itself answers OPTIONS, with "
        "these methods and the access-control-* fields in response_fields, as browsers' preflights need it.",
    )
    access: RouteAccess | None = Field(
        default=None,
        description="Requirements in place of access.require; off: none, as for a health check. If omitted: the "
        "same.",
    )
    shares: bool = Field(
        default=False,
        description="Permit that clients of this route reach objects of a route whose access requires more, because "
        "their origins overlap, and so do their paths after strip and add. Off: such settings are refused.",
    )
    forward_request_headers: Annotated[tuple[FieldName, ...], BeforeValidator(_none_is_empty)] | Literal["all"] = (
        Field(
            default=(),
            description="Request fields that are forwarded, and by which responses may vary; or all, for origins of "
            "provider http. Fields in which proxies report a client or its URL, as X-Forwarded-For, are never "
            "forwarded: any client can send them. Empty: the origin sees the same request for all clients, and one "
            "entry serves all. With an S3 origin, origin and access-control-request-* select a response even if Vary "
            "omits them.",
        )
    )
    accept: tuple[MediaType, ...] = Field(
        default=(),
        description="Media types that the platform serves, the best first: Accept, if forwarded, becomes the best of "
        "these that the client names, else the last. Empty: unchanged, and each spelling is a variant.",
    )
    accept_encoding: tuple[FieldName, ...] = Field(
        default=(),
        description="Content codings that the platform serves: Accept-Encoding, if forwarded, becomes those that the "
        "client accepts. Empty: unchanged.",
    )
    accept_language: tuple[Language, ...] = Field(
        default=(),
        description="Languages that the platform serves, the default first: Accept-Language, if forwarded, becomes "
        "the one of these that the client prefers, else the first. Empty: unchanged, and each spelling is a variant.",
    )
    max_forwarded_bytes: Size = size(
        "8KiB",
        "Total of a request's forwarded fields, names included: 431 beyond it. Origins refuse longer heads, "
        "many from 8KiB on.",
        least=1,
    )
    max_forwarded_fields: int = Field(default=64, ge=1, description="Forwarded fields of a request: 431 beyond it.")
    max_variants: int = Field(
        default=32,
        ge=1,
        description="Variants stored under a key at most. Beyond that, a variant replaces the least used one once it "
        "is requested more often; until then it is fetched and not stored.",
    )
    early_hints: bool = Field(
        default=True,
        description="Forward interim responses (103 Early Hints, 102 Processing) of origins of provider http to "
        "HTTP/1.1 clients. Off: for clients that can't handle them.",
    )
    response_fields: ResponseFieldSettings = Field(
        default_factory=ResponseFieldSettings,
        description="Omitted keys are as in the top-level `response_fields`.",
    )

    @field_validator("methods", mode="before")
    @classmethod
    def _with_get(cls, value: Any) -> Any:
        said = [value] if isinstance(value, str) else value
        if isinstance(said, (list, tuple)) and "GET" not in said:
            raise ExpectedError("expected GET among them, as [GET, HEAD, OPTIONS]")
        return tuple(dict.fromkeys(said)) if isinstance(said, (list, tuple)) else said

    def rule(
        self,
        name: str,
        *,
        all_origins: Collection[str],
        providers: Mapping[str, Provider] = MappingProxyType({}),
        places: Mapping[str, Location] = MappingProxyType({}),
        facts: Mapping[str, OriginFacts] = MappingProxyType({}),
        node: str = "",
    ) -> Route:
        """This route as a rule of a node. `providers`, `places` and `facts` are the origins' by name."""
        chosen = self.origins or tuple(all_origins)
        # The key names the set of origins only if it isn't all: then adding one to all keeps the cache.
        space = "" if set(chosen) == set(all_origins) else "+".join(sorted(set(chosen)))
        freshness, forwarding = self.freshness.rules(node=node), self._forwarding(chosen, providers)
        known = [providers[origin] for origin in chosen if origin in providers]
        of_fields = [(self.response_fields.rules(each), ResponseFieldSettings().rules(each)) for each in known]
        rewriting = self._rewriting(known)
        policy = policy_name(
            [(freshness, FreshnessRules()), (forwarding, Forwarding()), (rewriting, Rewriting()), *of_fields]
        )
        return Route(
            name,
            prefix=self.match.encode(),
            strip=self.strip.encode(),
            add=self.add.encode(),
            origins=chosen,
            space=space.encode(),
            policy=policy,
            query=None
            if self.query.allow == "all"
            else frozenset(parameter.encode() for parameter in self.query.allow),
            key=self._key_rules([providers[origin] for origin in chosen if origin in providers]),
            freshness=freshness,
            forwarding=forwarding,
            max_variants=self.max_variants,
            fields=RouteFields(
                {
                    origin: self.response_fields.rules(providers[origin], self._home(places.get(origin)))
                    for origin in chosen
                    if origin in providers
                },
                self.response_fields.digests,
                self.response_fields.of_options(),
                self.response_fields.tells_ranges(),
            ),
            methods=tuple(method.encode() for method in self.methods),
            choose=Strategy(self.choose),
            facts=tuple([facts.get(origin, OriginFacts(origin)) for origin in chosen]),
            early_hints=self.early_hints
            and any(not providers[origin].signed for origin in chosen if origin in providers),
        )

    def _rewriting(self, providers: Collection[Provider]) -> Rewriting:
        if all(provider.signed for provider in providers):
            return Rewriting()  # storages redirect nobody
        return Rewriting(self.response_fields.rewrite_location)

    def _home(self, place: Location | None) -> PathMapping | None:
        if place is None:
            return None
        return PathMapping(
            place.authority, place.tls, below=place.base + self.add.encode(), strip=self.strip.encode()
        )

    def _forwarding(self, chosen: Collection[str], providers: Mapping[str, Provider]) -> Forwarding:
        if not self.forward_request_headers:
            return Forwarding()
        return Forwarding(
            None
            if self.forward_request_headers == "all"
            else frozenset(name.encode() for name in self.forward_request_headers),
            types=tuple(kind.encode() for kind in self.accept),
            codings=tuple(coding.encode() for coding in self.accept_encoding),
            languages=tuple(tag.encode() for tag in self.accept_language),
            max_bytes=self.max_forwarded_bytes,
            max_fields=self.max_forwarded_fields,
            storage=any(providers[origin].signed for origin in chosen if origin in providers),
        )

    def _key_rules(self, providers: Collection[Provider]) -> KeyRules:
        """The reading and spelling of paths: S3's if one of the origins is S3, since all see the same path."""
        plain = bool(providers) and not any(provider.signed for provider in providers)
        return KeyRules(
            duplicate_slashes=self.duplicate_slashes or ("keep" if plain else "merge"),
            encoded_slash=self.encoded_slash or ("keep" if plain else "decode"),
            spelling="uri" if plain else "s3",
        )
