"""Settings of routes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from shield.config.access import RouteAccess
from shield.config.fields import ResponseFieldSettings
from shield.config.freshness import FreshnessSettings
from shield.config.section import FieldName, MediaType, Name, Section, Text, matching, none_is_empty
from shield.config.units import Duration, ExpectedError, Size, duration, size
from shield.rules.fields import RouteFields
from shield.rules.freshness import FreshnessRules
from shield.rules.key import KeyRules
from shield.rules.locations import PathMapping, Rewriting
from shield.rules.policy import policy_name
from shield.rules.providers import Location, Provider
from shield.rules.ranking import OriginFacts, Strategy, incomparable, usual_strategy
from shield.rules.routes import Route
from shield.rules.vary import Forwarding

Method = Literal["GET", "HEAD", "OPTIONS"]


Language = Annotated[
    str,
    matching("[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*", "a language tag, as en or pt-BR"),
    AfterValidator(str.lower),
]


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
    choose: Literal["ordered", "nearest", "primary-first", "weighted", "cheapest"] | None = Field(
        default=None,
        description="The origin that is tried first; the others follow if it fails. ordered: as listed. nearest: by "
        "the measured time of a response and its price. primary-first: the primary. weighted: by key, each for a "
        "share of the keys in proportion to its weight. cheapest: by price. If omitted: nearest as soon as one of "
        "the route's origins has a price or max_lag, since they differ then in more than their order; else ordered.",
    )
    exchange: Duration = duration(
        "1000s",
        "With nearest: the time of waiting that a unit of money is worth. At 1000s and 0.09 USD per GB, 100 KB from "
        "a free origin may take 9 ms longer, and 10 MB 0.9 s: small objects come from the nearest origin, large ones "
        "from the cheapest. 0s: prices don't count; nor do they if one of the origins has none, or if they are in "
        "several currencies.",
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
    forward_request_headers: Annotated[tuple[FieldName, ...], BeforeValidator(none_is_empty)] | Literal["all"] = (
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
        of_origins = tuple([facts.get(origin, OriginFacts(origin)) for origin in chosen])
        # The key names the set of origins only if it isn't all: then adding one to all keeps the cache.
        space = "" if set(chosen) == set(all_origins) else "+".join(sorted(set(chosen)))
        freshness, forwarding = self.freshness.rules(node=node), self._forwarding(chosen, providers)
        known = [providers[origin] for origin in chosen if origin in providers]
        of_fields = [(self.response_fields.rules(each), ResponseFieldSettings().rules(each)) for each in known]
        internal = [tag for tag in freshness.tags if not all(own.kept(((tag, b""),)) for own, _ in of_fields)]
        freshness = replace(freshness, withheld=frozenset(internal))
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
            choose=self.strategy(of_origins),
            facts=of_origins,
            exchange=0.0 if incomparable(of_origins) else self.exchange,
            early_hints=self.early_hints
            and any(not providers[origin].signed for origin in chosen if origin in providers),
        )

    def strategy(self, origins: Sequence[OriginFacts]) -> Strategy:
        """The order in which these origins are tried."""
        return usual_strategy(origins) if self.choose is None else Strategy(self.choose)

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
