"""shield sign-url: makes a link that expires."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from shield.build.regime import access_rules
from shield.cli.check import read
from shield.config.settings import Settings
from shield.config.units import ExpectedError, parse_duration
from shield.errors import ConfigError, RequestError
from shield.rules.signed_urls import Links, signable
from shield.rules.written import target_of


def sign_url(url: str, path: Path, *, lifetime: str, key: str | None) -> int:
    """Print it; 0, 1 for a URL that names nothing, 2 for settings or options that can't be used."""
    loaded = read(path)
    if loaded is None:
        return 2
    try:
        links, used = _links(loaded.settings, key)
        target = links.taken_off(target_of(url))[0]
        text = signable(target, loaded.settings.route_table().resolve(target))
        signed = links.signed(target, text, key=used, expires=int(time.time() + parse_duration(lifetime)))
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    except ExpectedError as error:
        print(f"--lifetime: {error}", file=sys.stderr)
        return 2
    except RequestError as error:
        print(f"refused    {error.status} {error.reason}")
        return 1
    print(_origin(url) + signed.decode())
    return 0


def _links(settings: Settings, key: str | None) -> tuple[Links, bytes]:
    """The maker of links, and the id of the key to use. Raises ConfigError."""
    rules = access_rules(settings)
    if rules is None or rules.links is None:
        raise ConfigError(["access.signed_urls: there is none; expected keys to sign with"])
    links = rules.links
    used = next(iter(links.keys)) if key is None else key.encode()
    if used not in links.keys:
        known = " ".join(known.decode() for known in links.keys)
        raise ConfigError([f"--key: expected one of {known}"])
    return links, used


def _origin(url: str) -> str:
    """Scheme and authority of a URL, without its path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if "://" in url else ""
