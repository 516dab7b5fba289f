"""Where a node listens, read of settings that can't be used: by commands that ask a node which runs with others."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from shield.config.loading import SettingsSource
from shield.config.places import Tree
from shield.config.section import ListenAddress, off_is_none, parse_address
from shield.config.settings import AdminSettings, Settings
from shield.config.units import ExpectedError

_is_theirs = re.compile(r"""["']?(?:admin|listen)["']?[ \t]*:""").match


@dataclass(frozen=True, slots=True)
class Glimpse:
    """Its listeners: `admin` None means that it has none."""

    admin: ListenAddress | None
    listen: tuple[ListenAddress, ...]


def glimpse(source: SettingsSource) -> Glimpse:
    """The listeners by these sources, each the default if what is written of it can't be read at all."""
    if isinstance(source.text, OSError):
        source = replace(source, text=b"")
    tree = _tree(source)
    section = tree.get(("admin",))
    admin: ListenAddress | None = AdminSettings().listen
    if isinstance(section, dict) and "listen" in section:
        given = off_is_none(section["listen"])
        admin = None if given is None else _address(given) or admin
    given = tree.get(("listen",))
    found = [_address(each) for each in (given if isinstance(given, list) else [given])]
    listen = tuple([address for address in found if address is not None])
    return Glimpse(admin, listen or Settings.model_fields["listen"].default)


def _tree(source: SettingsSource) -> Tree:
    """All that can be read; of a file that isn't YAML as a whole, the parts on listeners."""
    read = source.read()
    if read.unread and isinstance(source.text, bytes):
        read = replace(source, text=_parts(source.text)).read()
    if read.unread:
        read = replace(source, text=b"").read()
    return read.tree


def _parts(text: bytes) -> bytes:
    """The lines of top-level keys on listeners, each with those below it."""
    kept, theirs = [], False
    for line in text.decode("utf-8-sig", "replace").splitlines():
        if line[:1] not in ("", " ", "\t", "#", "-", "}", "]"):
            theirs = _is_theirs(line) is not None
        if theirs:
            kept.append(line)
    return "\n".join(kept).encode()


def _address(given: object) -> ListenAddress | None:
    try:
        return parse_address(given)
    except ExpectedError:
        return None
