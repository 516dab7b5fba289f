"""Where a node listens, read of settings that can't be used: by commands that ask a node which runs with others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from shield.config.admin import AdminAddress, AdminSettings, parse_admin_address
from shield.config.loading import Read, SettingsSource
from shield.config.section import ListenAddress, off_is_none, parse_address
from shield.config.settings import Settings
from shield.config.units import ExpectedError
from shield.config.yaml_text import flow_entries

_is_theirs = re.compile(r"""["']?(?:admin|listen)["']?[ \t]*:""").match


@dataclass(frozen=True, slots=True)
class Glimpse:
    """Its listeners: `admin` None means that it has none."""

    admin: AdminAddress | None
    listen: tuple[ListenAddress, ...]
    tokens: Mapping[str, GlimpsedToken] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GlimpsedToken:
    """A token of the admin API. `secret` None: it can't be read, for the reason `why`."""

    role: str
    secret: str | None = field(repr=False)
    why: str = ""


def glimpse(source: SettingsSource) -> Glimpse:
    """The listeners by these sources, each the default if nothing of it can be read."""
    if isinstance(source.text, OSError):
        source = replace(source, text=b"")
    read = _read(source)
    tree = read.tree
    section = tree.get(("admin",))
    admin: AdminAddress | None = AdminSettings().listen
    if isinstance(section, dict) and "listen" in section:
        given = off_is_none(section["listen"])
        admin = None if given is None else _admin_address(given) or admin
    given = tree.get(("listen",))
    found = [_address(each) for each in (given if isinstance(given, list) else [given])]
    listen = tuple([address for address in found if address is not None])
    return Glimpse(admin, listen or Settings.model_fields["listen"].default, _tokens(read))


def _tokens(read: Read) -> Mapping[str, GlimpsedToken]:
    found: dict[str, GlimpsedToken] = {}
    for name, token in read.tree.items("admin", "tokens"):
        role, secret = (token.get("role"), token.get("secret")) if isinstance(token, dict) else (None, None)
        here = ("admin", "tokens", name)
        why = next((problem.text for problem in read.problems if problem.path[:3] == here), "it has no secret")
        if isinstance(role, str):
            found[name] = GlimpsedToken(role, secret if isinstance(secret, str) else None, why)
    return found


def _read(source: SettingsSource) -> Read:
    """All that can be read; of a file that isn't YAML as a whole, the parts on listeners."""
    read = source.read()
    if read.unread and isinstance(source.text, bytes):
        text = source.text.decode("utf-8-sig", "replace")
        parts = flow_entries(text) if text.lstrip().startswith("{") else _blocks(text)
        kept = "\n".join([part for part in parts if _is_theirs(part)])
        read = replace(source, text=kept.encode()).read()
    if read.unread:
        read = replace(source, text=b"").read()
    return read


def _blocks(text: str) -> Iterator[str]:
    """The lines of each top-level key with those below it."""
    block: list[str] = []
    for line in text.splitlines():
        if line[:1] not in ("", " ", "\t", "#", "-", "}", "]") and block:
            yield "\n".join(block)
            block = []
        block.append(line)
    yield "\n".join(block)


def _admin_address(given: object) -> AdminAddress | None:
    try:
        return parse_admin_address(given)
    except ExpectedError:
        return None


def _address(given: object) -> ListenAddress | None:
    try:
        return parse_address(given)
    except ExpectedError:
        return None
