"""On which terms a program can take over a running node from another version of it. Pure.

Both versions run at once for a while: the new one is the parent of the old one's workers, and their processes share
memory, directories and work. So they have to agree on how they speak and on what they share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shield import __version__
from shield.config.settings import Settings
from shield.lifecycle.listening import addresses_of
from shield.shared import LAYOUT
from shield.store.directory.record import FORMAT

SPEECH = 1
"""The version of what processes of a node say to each other: the handover, the line to the supervisor, and requests
among workers. It rises with a change that another version wouldn't understand."""


@dataclass(frozen=True, slots=True)
class UpgradeTerms:
    """Of a program with its settings. `version` is for people; `fixed` are settings that a node keeps while it runs,
    as JSON has them; `listens` are its addresses.
    """

    version: str
    speech: int
    layout: int
    directories: int
    fixed: Mapping[str, Any]
    listens: tuple[str, ...]

    def packed(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def terms_of(settings: Settings) -> UpgradeTerms:
    """Of this program with these settings."""
    fixed = settings.model_dump(
        mode="json", include={"node": True, "workers": True, "cache": {"slice_bytes", "tiers"}}
    )
    listens = tuple(str(address) for _, address in addresses_of(settings))
    return UpgradeTerms(__version__, SPEECH, LAYOUT, FORMAT, fixed, listens)


def unpacked(data: bytes) -> UpgradeTerms:
    """Raises ValueError. Of another version fields may be missing, and others there."""
    try:
        fields = json.loads(data)
        speech, layout, directories = (fields[name] for name in ("speech", "layout", "directories"))
        fixed, listens = fields["fixed"], fields["listens"]
        if {type(each) for each in (speech, layout, directories)} != {int} or not isinstance(fixed, dict):
            raise TypeError
        return UpgradeTerms(str(fields["version"]), speech, layout, directories, fixed, tuple(map(str, listens)))
    except (KeyError, TypeError, RecursionError, ValueError):
        raise ValueError("these are no terms") from None


def objections(running: UpgradeTerms, wanted: UpgradeTerms) -> list[str]:
    """Why a program can't take over from the one that runs; empty if it can."""
    found = []
    for what, own, others in (
        ("the speech of its processes", wanted.speech, running.speech),
        ("the layout of shared memory", wanted.layout, running.layout),
        ("the format of cache directories", wanted.directories, running.directories),
    ):
        if own != others:
            found.append(
                f"version {wanted.version} has another version of {what} ({own}) than {running.version} ({others}): "
                "restart the node instead"
            )
    for key, was, will in differing(running.fixed, wanted.fixed):
        found.append(
            f"{key} is {shown(was)} in the node that runs and {shown(will)} in the settings: put it back, or restart "
            "the node instead"
        )
    return found


def differing(one: Mapping[str, Any], other: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Keys with values that differ, and both values. A key that one version doesn't know doesn't count."""
    for key in one:
        if key in other:
            yield from _differing(one[key], other[key], f"{above}.{key}" if above else key)


def _differing(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        yield from differing(one, other, path)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, others) in enumerate(zip(one, other, strict=True)):
            yield from _differing(mine, others, f"{path}.{number}")
    elif one != other:
        yield path, one, other


def shown(value: Any) -> str:
    """A value in a message."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
