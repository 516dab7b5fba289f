"""shield store rm: removes entries, through the node or without it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from shield.cli.check import read
from shield.cli.store.node import RunningNode
from shield.cli.store.places import Opened, UsageError, opened, places_of
from shield.config.settings import Settings
from shield.errors import RequestError
from shield.rules.key import CacheKey
from shield.rules.written import keys_of, name_of, prefixes_of
from shield.store.upkeep.listing import holds, keys_under

_SEGMENT_BYTES = 1 << 20
"""For the records of removals: little room, so that writing them displaces nothing."""

_BATCH = 4096


def rm(path: Path, keys: Sequence[str], prefix: str | None) -> int:
    """Print how many were removed, as far as that is known; 0, 1 when nothing matched, 2 when it couldn't be done.
    Raises UsageError.
    """
    loaded = read(path)
    if loaded is None:
        return 2
    settings = loaded.settings
    if bool(keys) == (prefix is not None):
        raise UsageError("expected keys or --prefix, one of them")
    wanted = [key for text in keys for key in _keys(text, settings)]
    under = () if prefix is None else prefixes_of(prefix)
    node = RunningNode(settings)
    if node.state() is not None:
        if under and node.remove_prefix(under[0].decode()):
            print(f"removed all entries that begin with {prefix} from the node")
            return 0
        removed = None if under else node.remove([name_of(key).decode() for key in keys])
        if removed is not None:
            return _said(removed, "the node", keys)
        print("the running node can't do this: entries in its workers' RAM stay there", file=sys.stderr)
        is_told = True
    else:
        is_told = False
    removed, code = _directly(settings, wanted, under, is_told=is_told)
    return code or _said(removed, "the directories", keys)


def _keys(text: str, settings: Settings) -> list[CacheKey]:
    """The keys of a client's URL or path, or of a key as `ls` shows it."""
    try:
        return keys_of(name_of(text), settings.route_table())
    except RequestError as error:
        raise UsageError(f"{text}: would be rejected in a request: {error.status} {error.reason}") from None


def _directly(
    settings: Settings, wanted: Sequence[CacheKey], under: tuple[bytes, ...], *, is_told: bool
) -> tuple[int, int]:
    """The number of removed entries, and the exit code of the failures."""
    with opened(places_of(settings), settings.node, segment_bytes=_SEGMENT_BYTES) as found:
        if not is_told and any(not visit.alone for _, visit in found.visits):
            print(
                "a node has these directories open and doesn't answer on admin.listen: entries in its workers' RAM "
                "stays there",
                file=sys.stderr,
            )
        keys = list(wanted)
        if under:
            keys = list({key.text: key for d in found.directories for key in keys_under(d, under)}.values())
        return _remove(found, keys), found.say_problems()


def _remove(found: Opened, keys: Sequence[CacheKey]) -> int:
    """Remove keys from all directories; returns how many existed."""
    there: set[bytes] = set()
    for _, visit in found.visits:
        directory = visit.directory
        held = [key for key in keys if holds(directory, key)]
        there.update(key.text for key in held)
        # Records of a lost index that aren't indexed again yet must not come back after this.
        doomed = keys if directory.statistics().unscanned else held
        for at in range(0, len(doomed), _BATCH):
            directory.remove(doomed[at : at + _BATCH])
    return len(there)


def _said(removed: int, where: str, keys: Sequence[str]) -> int:
    if not removed:
        print("nothing matched")
        for key in keys:
            if key.endswith("*"):
                print(f"{key}: a * stands for itself here; --prefix removes all that begins so", file=sys.stderr)
        return 1
    print(f"removed {removed:,} {'entry' if removed == 1 else 'entries'} from {where}")
    return 0
