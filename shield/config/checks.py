"""Checks across several values. They read the values as given, so that all are checked even where some are bad."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from pydantic import ValidationError

from shield.config import access
from shield.config.access_checks import access_problems
from shield.config.admin_checks import admin_problems
from shield.config.budgets import budget_faults
from shield.config.cluster_checks import cluster_problems
from shield.config.origin import SECRETS, TLS_FILES, OriginSettings
from shield.config.places import KeyPath, Problem, Tree, did_you_mean, nameable, shortened
from shield.config.route import RouteSettings
from shield.config.section import ListenAddress, Section, is_name
from shield.config.settings import CacheSettings, Settings
from shield.config.units import format_size
from shield.errors import ConfigError, RequestError
from shield.rules.prices import Price
from shield.rules.providers import PROVIDERS
from shield.rules.ranking import MOST_RANKED, incomparable
from shield.rules.routes import Route, Routes
from shield.rules.vary import may_forward
from shield.rules.written import target_of

_OF_ROUTE = re.compile(r"routes? (?P<name>[a-z0-9-]+)(?: and [a-z0-9-]+)?: (?P<what>[a-z]+) ?(?P<text>.*)", re.DOTALL)
_ROUTE_KEYS = {"prefix": ("match",), "strip": ("strip",), "add": ("add",), "query": ("query", "allow")}
SLICES_PER_DIRECTORY = 16
"""A smaller directory would have only a segment or two, reclaimed all at once."""

OF_TRACING = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
"""Modules that traces need."""

_PLACE = ("provider", "endpoint", "region", "bucket", "addressing")
_VIRTUAL_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]*[a-z0-9]").fullmatch


def check(tree: Tree, settings: Settings | None) -> Iterator[Problem]:
    """All such problems; `settings` if each value by itself is good."""
    for name, value in tree.items("origins"):
        yield from _origin(name, value, tree)
    for name, value in tree.items("purge", "edges"):
        if isinstance(value, dict):
            yield from _obtained(value.get("credentials"), ("purge", "edges", name, "credentials"), tree)
    yield from _tls(tree)
    yield from _roles(tree)
    yield from _references(tree)
    yield from _routes(tree)
    if settings is not None:
        yield from _together(settings, tree)


def _origin(name: str, value: object, tree: Tree) -> Iterator[Problem]:
    here = ("origins", name)
    if not isinstance(value, dict) or not is_name(name):
        return
    source = value.get("credentials")
    if source is not None:
        yield from _source(source, value, here, tree)
    elif value.get("provider") not in (None, "http"):
        variable, file = f"SHIELD_ORIGINS__{name.upper().replace('-', '_')}__", f"shield_origins__{name}__"
        for key in ("access_key_id", "secret_key"):
            if value.get(key) is None and value.get(f"{key}_file") is None:
                yield tree.problem(
                    (*here, key),
                    f"no credentials; expected {key} or {key}_file here, the variable {variable}{key.upper()}, "
                    f"or a secret file {file}{key}",
                )
    ca_file = value.get("ca_file")
    if isinstance(ca_file, str) and not os.access(ca_file, os.R_OK):
        yield tree.problem((*here, "ca_file"), f'got "{shortened(ca_file)}"; expected a file that can be read')
    if value.get("pass_errors") is True and value.get("provider") not in (None, "http"):
        yield tree.problem((*here, "pass_errors"), "expected provider http: S3 errors aren't meant for clients")
    if value.get("lenient_heads") is True and value.get("provider") not in (None, "http"):
        yield tree.problem((*here, "lenient_heads"), "expected provider http: storages send correct line ends")
    # Only the keys that locate it, so that this is checked even if others are bad.
    origin = _made(OriginSettings, {key: value[key] for key in _PLACE if key in value})
    if not isinstance(origin, OriginSettings):
        return
    endpoint = origin.endpoint or ""
    if origin.profile.signed and "/" in endpoint.partition("://")[2]:
        yield tree.problem((*here, "endpoint"), f'got "{endpoint}"; expected no path: only provider http takes one')
        return
    if origin.addressing == "virtual" and origin.bucket and not _VIRTUAL_BUCKET(origin.bucket):
        said = f'got "{origin.bucket}"; expected lower case letters, digits, hyphens: addressing is virtual'
        yield tree.problem((*here, "bucket"), said)
        return
    try:
        origin.location()
    except ConfigError as error:
        problems = error.problems
    else:
        problems = []
    for problem in problems:
        key, _, text = problem.partition(": ")
        yield tree.problem((*here, key), text)


def _source(source: object, value: Mapping[str, object], here: KeyPath, tree: Tree) -> Iterator[Problem]:
    """The source of an origin's credentials."""
    path = (*here, "credentials")
    if value.get("provider") == "http":
        yield tree.problem(path, "has no effect: requests to provider http aren't signed; leave it out")
    for key in SECRETS:
        if value.get(key) is not None or value.get(f"{key}_file") is not None:
            yield tree.problem(path, f"{key} is given too; expected one of the two")
    yield from _obtained(source, path, tree)


def _obtained(source: object, path: KeyPath, tree: Tree) -> Iterator[Problem]:
    """Whether a source of credentials can be used here."""
    if not isinstance(source, dict):
        return
    command = source.get("command")
    if isinstance(command, list | tuple) and command and isinstance(command[0], str) and not which(command[0]):
        said = f'got "{shortened(command[0])}"; expected a program that can be run, best with its whole path'
        yield tree.problem((*path, "command"), said)
    if source.get("chain") == "aws" and find_spec("botocore") is None:
        said = "needs botocore, which isn't installed; expected the extra aws: pip install 'shield[aws]'"
        yield tree.problem((*path, "chain"), said)


def _of_web_servers(settings: Settings, tree: Tree) -> Iterator[Problem]:
    """Settings that only origins of provider http may have."""
    for name, origin in settings.origins.items():
        if origin.profile.signed and origin.pass_errors:
            said = "expected provider http: S3 errors aren't meant for clients"
            yield tree.problem(("origins", name, "pass_errors"), said)
        if origin.profile.signed and origin.lenient_heads:
            said = "expected provider http: storages send correct line ends"
            yield tree.problem(("origins", name, "lenient_heads"), said)


def _tls(tree: Tree) -> Iterator[Problem]:
    for path in (*TLS_FILES, access.CA_FILE):
        file = tree.get(path)
        if isinstance(file, str) and not os.access(file, os.R_OK):
            yield tree.problem(path, f'got "{shortened(file)}"; expected a file that can be read')


def _roles(tree: Tree) -> Iterator[Problem]:
    primaries = [name for name, _ in tree.items("origins") if tree.get(("origins", name, "role")) == "primary"]
    for name in primaries[1:]:
        said = f"{nameable(primaries[0])} is primary already; expected one primary at most"
        yield tree.problem(("origins", name, "role"), said)


def _choices(settings: Settings, tree: Tree) -> Iterator[Problem]:
    """The requirements of a route's `choose` on its origins."""
    facts = settings.facts()
    for name, route in settings.routes.items():
        listed = route.origins or tuple(settings.origins)
        origins = {each: settings.origins[each] for each in listed if each in settings.origins}
        said = ""
        if route.choose == "primary-first" and all(origin.role != "primary" for origin in origins.values()):
            said = "none of its origins is primary; expected role: primary for one of them"
        elif route.choose == "weighted" and not any(origin.weight for origin in origins.values()):
            said = "all of its origins have weight 0; expected more for one of them"
        elif route.choose == "cheapest" and (why := incomparable([facts[each] for each in origins])):
            said = f"{why}; expected one for each of its origins, in one currency"
        elif route.choose == "nearest" and len(listed) > MOST_RANKED:
            said = f"it has {len(listed)} origins; expected {MOST_RANKED} at most"
        if said:
            yield tree.problem(("routes", name, "choose"), f'got "{route.choose}"; {said}')


def _canaries(settings: Settings, tree: Tree) -> Iterator[Problem]:
    """Objects for probes, which some route must have."""
    try:
        routes = settings.route_table()
    except ConfigError:
        return  # one of the problems above
    for at, canary in enumerate(settings.probes.canaries):
        try:
            routes.resolve(target_of(canary))
        except RequestError as error:
            said = f"{error.reason}: expected the path or URL of an object, as /images/canary.webp"
            yield tree.problem(("probes", "canaries", at), said)


def _forwarding(settings: Settings, tree: Tree) -> Iterator[Problem]:
    """Fields that may be forwarded to origins."""
    for name, route in settings.routes.items():
        path: KeyPath = ("routes", name, "forward_request_headers")
        listed = route.forward_request_headers
        if route.query.allow == "all" and (signed := _signed_of(settings, route)):
            said = f"{nameable(signed[0])} is an S3 origin; expected a list of parameters, all is for provider http"
            yield tree.problem(("routes", name, "query", "allow"), said)
        if route.encoded_slash == "keep" and (signed := _signed_of(settings, route)):
            said = f"{nameable(signed[0])} is an S3 origin, to which %2F is /; expected decode or reject"
            yield tree.problem(("routes", name, "encoded_slash"), said)
        if listed == "all":
            if signed := _signed_of(settings, route):
                said = f"{nameable(signed[0])} is an S3 origin; expected a list of fields, all is for provider http"
                yield tree.problem(path, said)
            continue
        for at, field in enumerate(listed):
            if not may_forward(field.encode()) or field == "authorization":
                said = "expected a field that may be forwarded; what proxies tell of a client or of its URL never is"
                yield tree.problem((*path, at), f'got "{field}"; {said}')


def _signed_of(settings: Settings, route: RouteSettings) -> list[str]:
    """The S3 origins of a route."""
    names = route.origins or tuple(settings.origins)
    return [name for name in names if name in settings.origins and settings.origins[name].profile.signed]


def _references(tree: Tree) -> Iterator[Problem]:
    """Origins named by routes, by budgets, and for drills."""
    known = [name for name, _ in tree.items("origins")]
    paths: list[KeyPath] = [("routes", route, "origins") for route, _ in tree.items("routes")]
    paths += [("budgets", budget, "origins") for budget, _ in tree.items("budgets")]
    for path in (*paths, ("drills", "origins")):
        listed = tree.get(path)
        for at, name in enumerate(listed if isinstance(listed, list) else ()):
            if not isinstance(name, str):
                continue
            if name not in known:
                expected = f"expected one of {' '.join(map(nameable, known))}" if known else "there are no origins"
                said = f'got "{shortened(name)}"; {expected}{did_you_mean(name, known)}'
                yield tree.problem((*path, at), said)
            elif isinstance(listed, list) and name in listed[:at]:
                yield tree.problem((*path, at), f'"{shortened(name)}" is listed twice')


def _routes(tree: Tree) -> Iterator[Problem]:
    """Prefixes and queries, checked by the rules that routes follow."""
    made: list[Route] = []
    providers = {
        name: PROVIDERS[provider]
        for name, _ in tree.items("origins")
        if isinstance(provider := tree.get(("origins", name, "provider")), str) and provider in PROVIDERS
    }
    for name, value in tree.items("routes"):
        route = _made(RouteSettings, value)
        if isinstance(route, RouteSettings):
            made.append(route.rule(name, all_origins=tuple(providers), providers=providers))
    try:
        Routes(made)
    except ConfigError as error:
        problems = error.problems
    else:
        problems = []
    for problem in problems:
        found = _OF_ROUTE.fullmatch(problem)
        if found is None:
            yield tree.problem(("routes",), shortened(problem, 300))
            continue
        key = _ROUTE_KEYS.get(found["what"], ("match",))
        text = found["text"] if found["what"] in _ROUTE_KEYS else problem
        yield tree.problem(("routes", found["name"], *key), shortened(text.removeprefix(": "), 300))


def _together(settings: Settings, tree: Tree) -> Iterator[Problem]:
    listen, admin = settings.listen, settings.admin.listen
    for at, address in enumerate(listen):
        if address in listen[:at] and address.port:
            yield tree.problem(("listen", at), f"{address} is listed twice")
    if isinstance(admin, ListenAddress) and admin in listen and admin.port:
        yield tree.problem(("admin", "listen"), f"{admin} is an address for clients already; expected another")
    yield from admin_problems(settings.admin, tree)
    memory = settings.cache.memory
    if memory.max_entry is not None and memory.max_entry > memory.capacity:
        yield tree.problem(("cache", "memory", "max_entry"), "expected at most cache.memory.capacity")
    yield from _of_web_servers(settings, tree)
    yield from _forwarding(settings, tree)
    yield from _choices(settings, tree)
    yield from _canaries(settings, tree)
    yield from access_problems(settings, tree)
    yield from _rate_limits(settings, tree)
    yield from _budgets(settings, tree)
    yield from _accounts(settings, tree)
    yield from cluster_problems(settings, tree)
    if settings.tracing is not None and not has_tracing():
        said = "needs OpenTelemetry, which isn't installed; expected the extra otel: pip install 'shield[otel]'"
        yield tree.problem(("tracing",), said)
    yield from _tiers(settings.cache, settings.workers, tree)


def has_tracing() -> bool:
    """Whether the extra that `tracing` needs is installed."""
    try:
        return all(find_spec(module) is not None for module in OF_TRACING)
    except ModuleNotFoundError:  # not even the package around it
        return False


def _rate_limits(settings: Settings, tree: Tree) -> Iterator[Problem]:
    """The dependencies of limits."""
    for name, limit in settings.rate_limits.items():
        here: KeyPath = ("rate_limits", name)
        if limit.by == "header" and limit.header is None:
            yield tree.problem((*here, "header"), "by: header needs one; expected a field's name, as X-Api-Key")
        if limit.by != "header" and limit.header is not None:
            yield tree.problem((*here, "header"), f"it has no effect with by: {limit.by}; expected by: header")
        if limit.by == "signed-url-key" and (settings.access is None or settings.access.signed_urls is None):
            yield tree.problem((*here, "by"), 'got "signed-url-key"; expected access.signed_urls, too')
        for at, route in enumerate(limit.routes):
            if route not in settings.routes:
                known = list(settings.routes)
                said = f"expected one of {' '.join(map(nameable, known))}{did_you_mean(route, known)}"
                yield tree.problem((*here, "routes", at), f'got "{route}"; {said}')


def _budgets(settings: Settings, tree: Tree) -> Iterator[Problem]:
    """The dependencies of budgets."""
    for name, budget in settings.budgets.items():
        for key, said in budget_faults(budget, settings.origins, settings.labels):
            yield tree.problem(("budgets", name, key), said)


def _accounts(settings: Settings, tree: Tree) -> Iterator[Problem]:
    """Origins of one account are billed by the same months, in the same currency."""
    first: dict[str, tuple[str, Price]] = {}
    for name, origin in settings.origins.items():
        if origin.price is None or not (price := origin.price.price).account:
            continue
        other, known = first.setdefault(price.account, (name, price))
        if (price.zone, price.currency) != (known.zone, known.currency):
            said = f"origin {other} of the same account is billed in {known.currency}, by months of {known.zone}"
            yield tree.problem(("origins", name, "price"), f"{said}; expected the same currency and zone here")


def _tiers(cache: CacheSettings, workers: int, tree: Tree) -> Iterator[Problem]:
    """Directories: each listed once, and large enough for its segments."""
    names: set[str] = set()
    paths: dict[Path, Path] = {}
    least = SLICES_PER_DIRECTORY * cache.slice_bytes
    for at, tier in enumerate(cache.tiers):
        here: KeyPath = ("cache", "tiers", at)
        if tier.name in names:
            yield tree.problem(
                (*here, "name"), f"{nameable(tier.name)} is the name of another tier; expected another"
            )
        names.add(tier.name)
        for place, directory in enumerate(tier.directories):
            of_directory: KeyPath = (*here, "directories", place)
            path = directory.path.resolve()
            for other in paths:
                if path == other or path in other.parents or other in path.parents:
                    said = f'"{directory.path}" and "{paths[other]}" are nested; expected one for each disk'
                    yield tree.problem((*of_directory, "path"), said)
            paths[path] = directory.path
            if directory.capacity < least:
                said = (
                    f"expected at least {format_size(least)}, which is {SLICES_PER_DIRECTORY} times cache.slice_bytes"
                )
                yield tree.problem((*of_directory, "capacity"), said)
    needed = 4 * cache.slice_bytes * workers
    if cache.tiers and cache.fills.memory < needed:
        said = f"expected at least {format_size(needed)}, which is 4 times cache.slice_bytes for each worker"
        yield tree.problem(("cache", "fills", "memory"), said)


def _made(kind: type[Section], value: object) -> Section | None:
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None
