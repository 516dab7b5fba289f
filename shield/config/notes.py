"""Notes on valid settings with unwelcome effects."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from shield.config import access, alarms, purging
from shield.config.access_checks import access_notes, keeps_nobody_out
from shield.config.admin import token_secrets
from shield.config.origin import SECRETS, OriginSettings
from shield.config.places import KeyPath, Layer, Position, Tree
from shield.config.section import is_loopback
from shield.config.settings import Settings
from shield.config.tracing import HEADERS
from shield.rules.freshness import CREDENTIALS
from shield.rules.zones import PACIFIC


def notes_on(settings: Settings, tree: Tree) -> Iterator[str]:
    """One readable line each, with position and key."""
    yield from _listeners(settings, tree)
    admin = settings.admin.listen
    if admin is not None and not admin.loopback:
        said = f"{admin} can be reached from elsewhere, in plain HTTP: tokens can be read on the way"
        yield str(tree.problem(("admin", "listen"), said))
    yield from access_notes(settings, tree)
    for name, origin in settings.origins.items():
        yield from _origin(name, origin, tree)
    if len(settings.origins) > 1 and not any(origin.role == "primary" for origin in settings.origins.values()):
        said = "none has role: primary, so that after a purge an origin that lags may bring the old object back"
        yield str(tree.problem(("origins",), said))
    place = settings.ledger.path or settings.state_directory
    if settings.budgets and (place is None or place == "off"):
        said = "without a ledger they begin at 0 after a restart: set state_directory, unless systemd gives one"
        yield str(tree.problem(("budgets",), said))
    yield from _webhooks(settings, tree)
    yield from _edges(settings, tree)
    yield from _idle_fractions(settings, tree)
    yield from _credentials(settings, tree)
    yield from _readable_by_all(tree)


def _listeners(settings: Settings, tree: Tree) -> Iterator[str]:
    """The risks of listeners that others can reach."""
    said = ", in plain HTTP" if settings.tls is None else ""
    if keeps_nobody_out(settings):
        said += "; NO CLIENT IS REJECTED: everyone who reaches it can read all objects"
    for address in settings.listen:
        if said and not address.loopback:
            yield str(tree.problem(("listen",), f"{address} can be reached from elsewhere{said}"))


def _origin(name: str, origin: OriginSettings, tree: Tree) -> Iterator[str]:
    where = origin.location()
    if not where.tls and not is_loopback(where.host):
        said = f"{where.host} is reached over plain HTTP: secret keys aren't sent, but bodies can be read and changed"
        yield str(tree.problem(("origins", name, "endpoint"), said))
    price = origin.price
    if origin.provider == "gcs" and price is not None and price.preset is None and price.zone is None:
        said = f"Google bills days and months of {PACIFIC}, and this price those of UTC: set its zone"
        yield str(tree.problem(("origins", name, "price"), said))
    if not origin.profile.signed and origin.secret_key is not None:
        said = f"has no effect: requests to provider {origin.provider} aren't signed"
        yield str(tree.problem(("origins", name, "secret_key"), said))


def _webhooks(settings: Settings, tree: Tree) -> Iterator[str]:
    """Webhooks over plain HTTP: alarms say much about the node."""
    for name, webhook in settings.alarms.webhooks.items():
        parts = urlsplit("" if webhook.url is None else webhook.url.get_secret_value())
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            said = "alarms are sent over plain HTTP, and can be read and changed on their way"
            yield str(tree.problem((*alarms.WEBHOOKS, name, "url"), said))


def _edges(settings: Settings, tree: Tree) -> Iterator[str]:
    """APIs of CDNs over plain HTTP: calls carry tokens."""
    for name, edge in settings.purge.edges.items():
        parts = urlsplit(edge.api or "")
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            said = "its token is sent over plain HTTP, readable on the way: WHO READS IT CAN PURGE"
            yield str(tree.problem((*purging.EDGES, name, "api"), said))


def _idle_fractions(settings: Settings, tree: Tree) -> Iterator[str]:
    paths: dict[KeyPath, None] = {}
    for name, route in settings.routes.items():
        if route.freshness.heuristic_fraction is not None and route.freshness.default_lifetime is not None:
            own: KeyPath = ("routes", name, "freshness", "heuristic_fraction")
            paths[own if own in tree.places else ("freshness", "heuristic_fraction")] = None
    for path in paths:
        yield str(tree.problem(path, "has no effect while default_lifetime isn't off"))


def _credentials(settings: Settings, tree: Tree) -> Iterator[str]:
    """Routes that forward credentials, and the effect on caching."""
    usual = {name.decode() for name in CREDENTIALS}
    for name, route in settings.routes.items():
        path: KeyPath = ("routes", name, "forward_request_headers")
        listed = route.forward_request_headers
        held = {field.replace("_", "-") for field in route.freshness.credentials} | {"authorization"}
        seen = sorted(usual | held) if listed == "all" else [each for each in listed if _plain(each) in usual | held]
        alone = " ".join([each for each in seen if _plain(each) in held])
        shared = " ".join([each for each in seen if _plain(each) not in held])
        if alone:
            said = (
                f"the answer to a request with {alone} is for that request alone, unless it says public, s-maxage or "
            )
            said += "must-revalidate, or names the field in Vary"
            yield str(tree.problem(path, said))
        if shared:
            said = f"{shared} may say who the client is, and isn't in freshness.credentials: "
            said += "EVERYONE MAY GET THE ANSWER, unless it says private or no-store, or names the field in Vary"
            yield str(tree.problem(path, said))


def _plain(name: str) -> str:
    """A field's name with _ as -, as servers that pass environment variables read it."""
    return name.replace("_", "-")


def _readable_by_all(tree: Tree) -> Iterator[str]:
    """Files with secrets that every user of the machine may read."""
    holding: dict[str, Position] = {}
    keys = [("origins", name, key) for name, _ in tree.items("origins") for key in SECRETS if key != "access_key_id"]
    of_webhooks = alarms.secrets([name for name, _ in tree.items(*alarms.WEBHOOKS)])
    of_collector: list[KeyPath] = [(*HEADERS, name) for name, _ in tree.items(*HEADERS)]
    of_edges = purging.secrets([name for name, _ in tree.items(*purging.EDGES)])
    for path in (*keys, *access.SECRETS, *token_secrets(tree), *of_webhooks, *of_edges, *of_collector):
        place = tree.place(path)
        if tree.get(path) is not None and place.layer is not Layer.ENVIRONMENT:
            holding.setdefault(place.name, place)
    for file, place in holding.items():
        try:
            mode = Path(file).stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IROTH:
            yield f"{place}: a secret in a file that every user of this machine may read; chmod 600 it"
