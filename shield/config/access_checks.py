"""Checks whether the access settings fit together, and notes on settings with unwelcome effects."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from shield.config.access import AccessSettings
from shield.config.places import KeyPath, Problem, Tree, nameable
from shield.config.settings import Settings
from shield.errors import ConfigError
from shield.rules.access import Rule, requirement_of
from shield.rules.addresses import UNIX
from shield.rules.reach import Exposure, exposures

_HERE: KeyPath = ("access",)
_IN_PLAIN = "secrets arrive in plain HTTP, readable on the way"


def access_problems(settings: Settings, tree: Tree) -> Iterator[Problem]:
    """Settings that contradict each other."""
    access, purging = settings.access, settings.purge_method
    if purging is not None and not purging.secrets and not purging.allow:
        yield tree.problem(("purge_method", "secrets"), f"{_nothing(('purge_method', 'secrets'))}; or allow")
    if access is None:
        for address in settings.listen:
            if not address.loopback:
                said = f"{address} can be reached from elsewhere; expected access, too: the rules for clients, or off"
                yield tree.problem(("listen",), said)
        for path, texts in _requirements(settings):
            if texts:
                yield tree.problem(path, "there is no `access` section; expected its rules there")
        return
    configured = access.configured()
    if not configured and access.allow != "all":
        said = f"no rule; expected one of {' '.join(rule.value for rule in Rule)}, or allow: all"
        yield tree.problem(_HERE, said)
    if access.allow == "all" and access.require:
        yield tree.problem((*_HERE, "require"), "allow: all lets everyone in; expected one of the two")
    for path, texts in _requirements(settings):
        for at, text in enumerate(texts):
            for word in text.split(" or "):
                if Rule(word) not in configured:
                    yield tree.problem((*path, at), f"there is no such rule; expected access.{word}")
    if access.client_certificate is not None and settings.tls is None:
        yield tree.problem((*_HERE, "client_certificate"), "clients can't show one without TLS; expected tls, too")
    for path, given in (
        ((*_HERE, "header", "secrets"), access.header is None or access.header.secrets),
        ((*_HERE, "signed_urls", "keys"), access.signed_urls is None or access.signed_urls.keys),
    ):
        if not given:
            yield tree.problem(path, _nothing(path))
    yield from _parameters(access, settings, tree)
    for found in exposures_of(settings):
        if not settings.routes[found.by].shares:
            yield tree.problem(("routes", found.by, "access"), _exposure(found, settings))


def exposures_of(settings: Settings) -> list[Exposure]:
    """Routes that expose objects which another route protects, with and without `shares`."""
    if settings.access is None:
        return []
    try:
        routes = list(settings.route_table())
        homes = {name: origin.location().object_url(b"/") for name, origin in settings.origins.items()}
    except ConfigError:
        return []  # one of the other problems
    required = settings.access.required()
    given = {name: route.access for name, route in settings.routes.items()}
    requirements = {name: requirement_of(required if own is None else own) for name, own in given.items()}
    objects = {route.name: frozenset([homes[name] for name in route.origins if name in homes]) for route in routes}
    return list(exposures(routes, requirements, objects))


def unshared(settings: Settings) -> list[str]:
    """The problems of such routes without `shares`, a line each."""
    return [
        f"routes.{found.by}.access: {_exposure(found, settings)}"
        for found in exposures_of(settings)
        if not settings.routes[found.by].shares
    ]


def _exposure(found: Exposure, settings: Settings) -> str:
    """The problem, and its remedies."""
    assert settings.access is not None
    own, other = (settings.routes[name].access for name in (found.by, found.of))
    required = settings.access.required()
    wants, lets = ", ".join(required if other is None else other), ", ".join(required if own is None else own)
    path = found.path.decode("ascii", "replace")
    return (
        f"it requires {lets or 'nothing'}, and its clients reach objects below {path} for which route "
        f"{nameable(found.of)} requires {wants}; expected as much here, other paths or origins, or shares: true"
    )


def access_notes(settings: Settings, tree: Tree) -> Iterator[str]:
    """Valid settings with unwelcome effects. Listeners that admit everyone are noted with the listeners."""
    access, purging = settings.access, settings.purge_method
    in_the_open = settings.tls is None and not all(each.loopback for each in settings.listen)
    if purging is not None:
        for at, network in enumerate(purging.allow):
            if network != UNIX and ipaddress.ip_network(network).prefixlen == 0 and not purging.secrets:
                yield str(tree.problem(("purge_method", "allow", at), f"{network} is everyone: ANYONE CAN PURGE"))
        if purging.secrets and in_the_open:
            yield str(tree.problem(("purge_method", "secrets"), _IN_PLAIN))
    if access is None:
        return
    used = {word for _, texts in _requirements(settings) for text in texts for word in text.split(" or ")}
    used.update(access.required())
    for rule in access.configured():
        if rule.value not in used:
            yield str(tree.problem((*_HERE, rule.value), "has no effect: nothing requires it"))
    meant = {found.by: found for found in exposures_of(settings)}
    for name, route in settings.routes.items():
        if route.shares and name not in meant:
            yield str(tree.problem(("routes", name, "shares"), "has no effect: no other route protects its objects"))
        elif route.shares:
            said = (
                f"its clients reach objects below {meant[name].path.decode('ascii', 'replace')} without what route "
            )
            yield str(tree.problem(("routes", name, "shares"), f"{said}{nameable(meant[name].of)} requires"))
    if access.trusted_proxies and not access.addresses:
        yield str(tree.problem((*_HERE, "trusted_proxies"), "has no effect without access.addresses"))
    for at, network in enumerate(access.trusted_proxies):
        if network != UNIX and ipaddress.ip_network(network).prefixlen == 0:
            said = f"{network} is everyone: any client can claim any address"
            yield str(tree.problem((*_HERE, "trusted_proxies", at), said))
    if access.header is not None and in_the_open:
        yield str(tree.problem((*_HERE, "header"), _IN_PLAIN))


def keeps_nobody_out(settings: Settings) -> bool:
    """Whether every client that reaches a listener is admitted, except on routes with their own requirements."""
    access = settings.access
    return access is None or all(_any_client(text) for text in access.required())


def _any_client(text: str) -> bool:
    """Whether any client can meet a requirement: clients may send any Host."""
    return Rule.HOSTS.value in text.split(" or ")


def _nothing(path: KeyPath) -> str:
    """The problem of missing secrets, worded as for origins' credentials."""
    key, name = path[-1], "__".join(map(str, path))
    return (
        f"there are none; expected {key} or {key}_file here, the variable SHIELD_{name.upper()}, or a secret file "
        f"shield_{name}"
    )


def _requirements(settings: Settings) -> Iterator[tuple[KeyPath, tuple[str, ...]]]:
    """Each key that lists requirements, with its list."""
    if settings.access is not None:
        yield (*_HERE, "require"), settings.access.require
    for name, route in settings.routes.items():
        yield ("routes", name, "access"), route.access or ()
    yield ("health", "access"), settings.health.access or ()


def _parameters(access: AccessSettings, settings: Settings, tree: Tree) -> Iterator[Problem]:
    """Parameters of links must differ from each other and from those that routes keep."""
    if access.signed_urls is None:
        return
    names: dict[str, str] = {}
    for key, name in access.signed_urls.parameters.model_dump().items():
        if name in names:
            path: KeyPath = (*_HERE, "signed_urls", "parameters", key)
            yield tree.problem(path, f'"{name}" is the name of {names[name]}; expected another')
        names[name] = key
    for route, about in settings.routes.items():
        kept = () if about.query.allow == "all" else about.query.allow
        for at, parameter in enumerate(kept):
            if parameter in names:
                said = f'"{parameter}" is a part of signed URLs: access.signed_urls.parameters may call it otherwise'
                yield tree.problem(("routes", route, "query", "allow", at), said)
