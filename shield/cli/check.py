"""shield check: can these settings be used, and where does what come from?"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from shield.config.loading import Loaded, load
from shield.errors import ConfigError


def check(path: Path) -> int:
    """Print problems, or what the settings mean; 0 or 2."""
    loaded = read(path)
    if loaded is None:
        return 2
    print("\n".join(_summary(loaded)))
    return 0


def read(path: Path) -> Loaded | None:
    """Settings of this process, or None after its problems were printed."""
    try:
        return load(path, environ=os.environ)
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        count = len(error.problems)
        print(f"{count} problem{'s' if count > 1 else ''}; these settings can't be used", file=sys.stderr)
        return None


def _summary(loaded: Loaded) -> list[str]:
    settings = loaded.settings
    listeners = ", ".join(f"{host}:{port}" for host, port in settings.listen)
    admin = settings.admin.listen
    lines = [
        f"node     {settings.node}",
        f"listen   {listeners}; admin {f'{admin.host}:{admin.port}' if admin else 'off'}",
        f"memory   {settings.cache.memory.capacity:,} bytes of entries, {settings.cache.fills.memory:,} of fills",
    ]
    for name, origin in settings.origins.items():
        lines.append(f"origin   {name}: {origin.role}, {origin.provider}, {origin.location().object_url(b'/')}")
        key = loaded.credentials.get((name, "secret_key"))
        lines.append(
            f"           secret key from {key}" if key and origin.profile.signed else "           not signed"
        )
    for route in settings.route_table():
        lines.append(f"route    {route.name}: {route.prefix.decode()} from {', '.join(route.origins)}")
    lines += [f"note     {note}" for note in loaded.notes]
    return [*lines, "settings can be used"]
