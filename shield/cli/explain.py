"""shield explain: how a URL is mapped, without a request to any origin."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from shield.build.origins import signer
from shield.cli.check import read
from shield.config.settings import Settings
from shield.errors import ConfigError, RequestError
from shield.rules.ranking import order_of, seed_of


def explain(url: str, path: Path) -> int:
    """Print it; 0, 1 for a rejected URL, 2 for settings that can't be used."""
    loaded = read(path)
    if loaded is None:
        return 2
    try:
        lines = _lines(target_of(url), loaded.settings)
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    except RequestError as error:
        print(f"refused    {error.status} {error.reason}")
        return 1
    print("\n".join(lines))
    return 0


def target_of(url: str) -> bytes:
    """The target that a client sends for a URL, in origin-form; non-ASCII characters are sent as UTF-8.

    Raises RequestError for an invalid URL.
    """
    if "://" in url:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise RequestError(400, "not-a-url") from None
        url = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    else:
        url = url.partition("#")[0]
    return b"".join(bytes((c,)) if 0x20 < c < 0x7F else b"%%%02X" % c for c in url.encode("utf-8", "surrogateescape"))


def _lines(target: bytes, settings: Settings) -> list[str]:
    resource = settings.route_table().resolve(target)
    route = resource.route
    given = target.partition(b"?")[2]
    order, places = resource.tried, order_of(route.choose, route.facts, seed_of(resource.named.digest))
    lines = [
        f"target     {target.decode()}",
        f"route      {route.name} (prefix {route.prefix.decode()})",
        f"key        {resource.key.text.decode()}",
        f"digest     {resource.key.digest.hex()}",
        f"query      {resource.query.decode() or ('dropped' if given else 'none')}",
        f"origins    {', '.join(order)}",
        *[f"           {place}" for place in places if len(places) > 1],
    ]
    now = time.time()
    for name in order:
        origin = settings.origins[name]
        signs = signer(settings, name)
        where = origin.location()
        lines += ["", f"{name}: {origin.provider}, {origin.role}"]
        lines.append(f"  GET {where.object_url(resource.path, resource.query)}")
        request = signs.canonical_request(b"GET", resource.path, now, query=resource.query)
        if request is None:
            lines.append("  not signed")
            continue
        lines.append(f"  signed for region {where.region.decode()}; canonical request:")
        lines += [f"    | {line}" for line in request.decode().split("\n")]
    return lines
