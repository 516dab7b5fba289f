"""Routing: from a request's target to its route, object path, query and cache key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import xxhash

from shield.errors import ConfigError, OwnPathError, RequestError
from shield.messages import Field
from shield.rules.choice import Choice
from shield.rules.fields import RouteFields
from shield.rules.freshness import FreshnessRules
from shield.rules.key import (
    CacheKey,
    KeyRules,
    canonical_path,
    canonical_query,
    forbidden_queries,
    is_simple,
    key_length,
)
from shield.rules.ordinary import Ordinary
from shield.rules.ranking import MOST_RANKED, OriginFacts, Strategy, drawn, order_of, seed_of
from shield.rules.vary import Forwarding

_MEMO_LIMIT: Final = 16384
_made: Final = tuple.__new__  # without a call of Python code
_MEMO_TARGET: Final = 512  # longer targets aren't remembered: bounds the memo's memory


@dataclass(frozen=True, slots=True)
class Route:
    """The mapping of the paths below `prefix` to objects and their origins.

    `prefix` matches whole segments; `strip` is removed from the front of the path and replaced by `add`, both b"" or
    paths without a trailing slash. All three are canonical by the route's own `key` rules. `origins` are names in
    configured order, `facts` what an order by `choose` takes of them; in cache keys, `space` names their set and
    `policy` the caching policy (`policy`). `query` has the kept parameters; None: the whole query, unchanged.
    `methods` has GET, and HEAD and OPTIONS if they are allowed.
    """

    name: str
    prefix: bytes = b"/"
    strip: bytes = b""
    add: bytes = b""
    origins: tuple[str, ...] = ()
    space: bytes = b""
    policy: bytes = b""
    query: frozenset[bytes] | None = frozenset()
    key: KeyRules = field(default_factory=KeyRules)
    freshness: FreshnessRules = field(default_factory=FreshnessRules)
    forwarding: Forwarding = field(default_factory=Forwarding)
    max_variants: int = 32
    fields: RouteFields = field(default_factory=RouteFields)
    methods: tuple[bytes, ...] = (b"GET", b"HEAD")
    early_hints: bool = False  # interim responses (102, 103) are forwarded to clients
    choose: Strategy = Strategy.ORDERED  # the order in which its origins are tried
    facts: tuple[OriginFacts, ...] = ()  # of its origins, in configured order; none: all are alike
    exchange: float = 0.0  # by cost: seconds of waiting that are worth a unit of money; 0.0: prices don't count
    # derived: whether a request's response depends on more than its target; checked at each hit
    particular: bool = field(init=False, repr=False, compare=False)
    # derived: the order by the settings, before anything is measured; of `weighted` that for some key
    calm_order: tuple[str, ...] = field(init=False, repr=False, compare=False)
    # derived: the order in which origins are tried where it is always the same; None: it is drawn for each key, or
    # by cost or price
    fixed_order: tuple[str, ...] | None = field(init=False, repr=False, compare=False)
    # derived: the order by cost or price at present; None: it is by neither
    choice: Choice | None = field(init=False, repr=False, compare=False)
    # derived: how the ordinary responses of each origin are judged, if it has any
    ordinary: Mapping[str, Ordinary] = field(init=False, repr=False, compare=False)
    # derived: the prefix of its cache keys, of `space` and `policy`
    key_space: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_space", self.space + (b"~" + self.policy if self.policy else b""))
        order = tuple([place.name for place in order_of(self.choose, self.facts)]) if self.facts else self.origins
        object.__setattr__(self, "calm_order", order)
        # Budgets of egress change an order by price.
        is_ranked = self.choose is Strategy.NEAREST or (
            self.choose is Strategy.CHEAPEST and 1 < len(order) <= MOST_RANKED
        )
        is_fixed = self.choose is not Strategy.WEIGHTED and not is_ranked
        object.__setattr__(self, "fixed_order", order if is_fixed else None)
        object.__setattr__(self, "choice", Choice(order) if is_ranked else None)
        object.__setattr__(self, "particular", self.forwarding.any or b"HEAD" not in self.methods)
        made = {name: Ordinary.of(self.freshness, self.fields.of(name, by_peer=False)) for name in self.origins}
        ordinary = {name: each for name, each in made.items() if each is not None and not self.forwarding.any}
        object.__setattr__(self, "ordinary", ordinary)

    @property
    def allow(self) -> bytes:
        """The methods as a value of Allow."""
        return b", ".join(self.methods)

    def order(self, digest: bytes) -> tuple[str, ...]:
        """The order in which its origins are tried for the key with this digest, while all are well."""
        if self.fixed_order is not None:
            return self.fixed_order
        if self.choice is not None:
            return self.choice.order
        return drawn(self.origins, [origin.weight for origin in self.facts], seed_of(digest))

    @property
    def hides(self) -> bool:
        """Whether stored heads may have a hidden line (`hidden`)."""
        return bool(self.freshness.hidden) or self.fields.digests != "off"

    def matches(self, path: bytes) -> bool:
        """Whether a canonical path is below the prefix: `/images` matches itself and `/images/x`, not `/imagesx`."""
        return below(path, self.prefix)

    def problems(self) -> list[str]:
        """The reasons why this route is unusable, one readable line each."""
        found = []
        plain = replace(self.key, duplicate_slashes="merge", encoded_slash="decode")
        for what, value, rules in (
            ("prefix", self.prefix, plain),
            ("strip", self.strip, plain),
            ("add", self.add, self.key),
        ):
            if value and not _is_canonical(value, rules):
                found.append(f"route {self.name}: {what} {_text(value)}: expected a canonical path, e.g. /images")
        if not self.prefix:
            found.append(f"route {self.name}: prefix: expected a path, / for everything")
        for what, value in (("strip", self.strip), ("add", self.add)):
            if value.endswith(b"/"):
                found.append(f"route {self.name}: {what} {_text(value)}: expected no slash at the end")
        if self.strip and not below(self.prefix, self.strip):
            found.append(
                f"route {self.name}: strip {_text(self.strip)}: expected prefix {_text(self.prefix)} to lie below it"
            )
        if b":" in self.key_space:
            found.append(
                f"route {self.name}: space {_text(self.key_space)}: expected no colon, it ends the space in a key"
            )
        for name in forbidden_queries(self.query or ()):
            found.append(f"route {self.name}: query {_text(name)}: storage APIs honour it, it can't be passed on")
        return found


class Resource(NamedTuple):  # one per request, as CacheKey
    """The resource that a target names. `path` is the object's canonical path after strip and add: "/" and its key.

    If the route forwards request fields, a resource is specific to one request: `forwarded` are those fields. If
    `key` is that of a variant, `base` is the key that all variants have in common.
    """

    key: CacheKey
    path: bytes
    query: bytes
    route: Route
    forwarded: tuple[Field, ...] = ()
    base: CacheKey | None = None

    @property
    def named(self) -> CacheKey:
        """The key by the target alone, without a variant."""
        return self.base or self.key

    @property
    def tried(self) -> tuple[str, ...]:
        """The origins that have it, in the order in which they are tried: the same for all its variants and parts."""
        return self.route.fixed_order or self.route.order(self.named.digest)

    @property
    def label(self) -> str:
        """The key's text, for logs and errors."""
        return self.key.text.decode("ascii", "replace")


class Routes:
    """All routes, the longest prefix first. `own` is a path that the node itself answers; b"": there is none.

    Raises ConfigError for unusable or ambiguous routes.
    """

    def __init__(self, routes: Iterable[Route], *, own: bytes = b"") -> None:
        self._own = own
        self._routes = tuple(sorted(routes, key=lambda route: len(route.prefix), reverse=True))
        problems = [problem for route in self._routes for problem in route.problems()]
        # Paths are first read by the most lenient rules, so that no spelling evades the prefix of a stricter route.
        self._lenient = KeyRules(max_key_bytes=max((r.key.max_key_bytes for r in self._routes), default=1024))
        self._shortest = min((route.key.max_key_bytes for route in self._routes), default=0)
        self._prefixes: list[tuple[bytes, Route]] = []
        seen: dict[bytes, Route] = {}
        for route in self._routes:
            try:
                prefix = canonical_path(route.prefix, self._lenient)
            except RequestError:
                continue  # one of the problems above
            self._prefixes.append((prefix, route))
            other = seen.setdefault(prefix.rstrip(b"/"), route)
            if other is not route:
                problems.append(f"routes {other.name} and {route.name}: both have the prefix {_text(route.prefix)}")
        if problems:
            raise ConfigError(problems)
        self._prefixes.sort(key=lambda each: len(each[0]), reverse=True)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def resolve(self, target: bytes) -> Resource:
        """The resource of a target in origin-form. Raises RequestError: 400 for a malformed or ambiguous one, 404
        without a route or object key, 414 for a key that is too long; OwnPathError for the node's own path.
        """
        raw_path, _, raw_query = target.partition(b"?")
        if is_simple(raw_path) and raw_path != self._own and len(raw_path) <= self._shortest and not raw_query:
            path, route, query = raw_path, self._route(raw_path), b""
        else:
            path, route = self._routed(target, raw_path, raw_query)
            query = canonical_query(raw_query, route.query) if route.query != frozenset() else b""
        if route.strip or route.add:
            path = _moved(path, route)
        if len(path) <= len(route.add) + 1:
            raise RequestError(404, "no-object-key")  # the bucket itself, or the directory in `add`
        return _made(Resource, (cache_key(route.key_space, path, query), path, query, route, (), None))

    def _routed(self, target: bytes, raw_path: bytes, raw_query: bytes) -> tuple[bytes, Route]:
        """The canonical path of any target, and its route."""
        if raw_path[:1] != b"/" or raw_path == self._own:
            raise _no_object(target, raw_path, raw_query)
        if b"#" in raw_query:
            raise RequestError(400, "fragment")  # RFC 9112 §3.2: never on the wire
        path = canonical_path(raw_path, self._lenient)
        route = self._route(path)
        if route.key != self._lenient:
            path = canonical_path(raw_path, route.key)
            if not route.matches(path) or self._route(canonical_path(path, self._lenient)) is not route:
                raise RequestError(400, "ambiguous-path")
        return path, route

    def keys(self, target: bytes) -> list[CacheKey]:
        """All keys of the object that a target names: one for each policy of the routes to these origins, that of its
        own route first. Raises RequestError as `resolve`.
        """
        resource = self.resolve(target)
        own = resource.route
        spaces = [own.key_space, *(route.key_space for route in self._routes if route.space == own.space)]
        return [cache_key(space, resource.path, resource.query) for space in dict.fromkeys(spaces)]

    def targets(self, text: bytes) -> list[bytes]:
        """The targets by which clients may have got the entry with this key's text, one of each route; none for a key
        that no route has now.
        """
        space, colon, rest = text.partition(b":/")
        path, mark, query = (b"/" + rest).partition(b"?")
        found: dict[bytes, None] = {}
        for route in self._routes if colon else ():
            if route.key_space != space or not path.startswith(route.add + b"/"):
                continue
            target = route.strip + path[len(route.add) :] + mark + query
            try:
                if self.resolve(target).key.text == text:
                    found[target] = None
            except (RequestError, OwnPathError):
                continue
        return list(found)

    def _route(self, path: bytes) -> Route:
        for prefix, route in self._prefixes:
            if prefix == b"/" or below(path, prefix):
                return route
        raise RequestError(404, "no-route")


def cache_key(space: bytes, path: bytes, query: bytes) -> CacheKey:
    """The key of a canonical path and query. `space` is b"" for the only set of origins and the default policy."""
    text = space + b":" + path + b"?" + query if query else space + b":" + path
    return _made(CacheKey, (text, xxhash.xxh3_128_digest(text)))


class Targets:
    """The resources of targets under one regime, memoized in two generations: targets requested since the
    last turn survive the next."""

    __slots__ = ("_routes", "old", "young")

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self.young: dict[bytes, Resource] = {}
        self.old: dict[bytes, Resource] = {}

    def resolve(self, target: bytes) -> Resource:
        """The resource of a target; RequestError if there is none."""
        resource = self.young.get(target)
        if resource is not None:
            return resource
        resource = self.old.get(target) or self._routes.resolve(target)
        if len(target) <= _MEMO_TARGET:
            if len(self.young) >= _MEMO_LIMIT:
                self.old, self.young = self.young, {}
            self.young[target] = resource
        return resource


def _moved(path: bytes, route: Route) -> bytes:
    """The path of the object, after strip and add."""
    path = path[len(route.strip) :]
    if path.startswith(b"//") and not route.add and route.key.spelling == "uri":
        path = b"/" + path.lstrip(b"/")  # as in `canonical_path`
    path = route.add + path
    if key_length(path) > route.key.max_key_bytes:
        raise RequestError(414, "key-too-long")
    return path


def below(path: bytes, prefix: bytes) -> bool:
    """Whether a path equals a prefix or is below it, by whole segments."""
    if not path.startswith(prefix):
        return False
    return len(path) == len(prefix) or prefix.endswith(b"/") or path[len(prefix)] == 0x2F


def _is_canonical(path: bytes, rules: KeyRules) -> bool:
    try:
        return canonical_path(path, rules) == path
    except RequestError:
        return False


def _no_object(target: bytes, raw_path: bytes, raw_query: bytes) -> RequestError:
    """The error for a target that isn't in origin-form, or is the node's own path."""
    return OwnPathError(raw_query) if raw_path[:1] == b"/" else RequestError(400, _form(target))


def _form(target: bytes) -> str:
    """The error for a target that isn't in origin-form, named after its form (RFC 9112 §3.2)."""
    if target == b"*":
        return "asterisk-form"
    return "absolute-form" if b"://" in target else "not-a-path"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
