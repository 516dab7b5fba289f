"""Settings of routes, and of freshness, which may differ from route to route."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field

from shield.config.section import Name, OrOff, Section, Text
from shield.config.units import Duration, duration
from shield.rules.freshness import FreshnessRules
from shield.rules.key import KeyRules
from shield.rules.routes import Route


class FreshnessSettings(Section):
    """How long entries hold where origins don't say, and the limits on what they say."""

    default_lifetime: Annotated[Duration | None, OrOff()] = duration(
        "1h",
        "Lifetime of an object without Cache-Control and Expires, as most in S3 are. An hour keeps a replaced image "
        "from staying for long; off leaves them to heuristic_fraction.",
    )
    heuristic_fraction: Annotated[Annotated[float, Field(gt=0, le=1)] | None, OrOff()] = Field(
        default=None,
        description="With default_lifetime off: lifetime as a share of the time since Last-Modified, 0.1 being usual "
        "(RFC 9111, 4.2.2). Off: such objects have no lifetime.",
    )
    max_lifetime: Duration = duration(
        "366d", "Upper bound on lifetimes, whatever origins say: a slip of the pen doesn't stay for ever."
    )
    negative_lifetime: Duration = duration(
        "10s",
        "Upper bound for 404 and 410, whatever origins say. Short: replicas lag, and objects appear.",
    )
    grace: Duration = duration(
        "30s",
        "Served stale meanwhile it is revalidated, unless stale-while-revalidate says otherwise. Longer than any "
        "revalidation takes.",
    )
    error_grace: Duration = duration(
        "1d",
        "Served stale when no origin can answer, unless stale-if-error says otherwise. A day outlasts most outages.",
    )
    keep: Duration = duration(
        "7d", "Kept past its lifetime to be revalidated, if it has a validator: a 304 is cheaper than a body."
    )
    honour_request_directives: bool = Field(
        default=False,
        description="Heed Cache-Control of clients. Off: it would let anyone force work on origins.",
    )
    strip_set_cookie: bool = Field(
        default=False,
        description="Store responses that set cookies, without the cookies. Off: such responses aren't stored.",
    )


class QuerySettings(Section):
    """Which query parameters are part of the object's URL."""

    allow: tuple[Text, ...] = Field(
        default=(),
        description="Parameters that are kept, sorted; all others are dropped. Empty: each spelling of a query would "
        "be an entry of its own. What S3 honours on signed requests can't be allowed.",
    )


class RouteSettings(Section):
    """How the paths below a prefix map to objects."""

    match: Text = Field(
        default="/",
        description="Prefix of paths, by whole segments: /images has /images/x, no /imagesx. Longest wins.",
    )
    strip: Text = Field(default="", description="Taken off the front of the path: /images makes /images/x the key x.")
    add: Text = Field(default="", description="Put in front of the path afterwards: /v2 makes the key v2/x.")
    origins: tuple[Name, ...] = Field(
        default=(), description="Origins that have these objects, in the order they are tried. Empty: all, as listed."
    )
    query: QuerySettings = Field(default_factory=QuerySettings, description="Which query parameters are kept.")
    duplicate_slashes: Literal["merge", "keep", "reject"] = Field(
        default="merge", description="// in a path: read as /, kept (S3 keys may have it), or refused with 400."
    )
    encoded_slash: Literal["decode", "reject"] = Field(
        default="decode", description="%2F in a path: read as /, or refused with 400."
    )
    freshness: FreshnessSettings = Field(
        default_factory=FreshnessSettings, description="Keys left out are as in the top-level `freshness`."
    )

    def rule(self, name: str, *, all_origins: Collection[str]) -> Route:
        """This route as it is followed."""
        chosen = self.origins or tuple(all_origins)
        # The key names a set of origins only where it isn't all: adding one to all keeps the cache.
        space = "" if set(chosen) == set(all_origins) else "+".join(sorted(set(chosen)))
        return Route(
            name,
            prefix=self.match.encode(),
            strip=self.strip.encode(),
            add=self.add.encode(),
            origins=chosen,
            space=space.encode(),
            query=frozenset(parameter.encode() for parameter in self.query.allow),
            key=KeyRules(duplicate_slashes=self.duplicate_slashes, encoded_slash=self.encoded_slash),
            freshness=FreshnessRules(**self.freshness.model_dump()),
        )
