"""shield settings: the meaning of keys."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from textwrap import wrap

from shield.cli.manual import facts
from shield.config.places import did_you_mean
from shield.config.reference import SettingGroup, SettingKey, find, reference

_WIDEST = 118


def settings(key: str) -> int:
    """Print the keys at and below `key`, or all; 0, or 2 if there is none such."""
    found = find(key) if key else reference()
    if not found:
        known = {path for group in reference() for path in (group.path, *(it.path for it in group.keys))}
        hint = did_you_mean(key, known) or "; without a name, shield settings lists all keys"
        print(f"no key {key}{hint}", file=sys.stderr)
        return 2
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    alone = sum(len(group.keys) for group in found) == 1
    print("\n".join(line for group in found for line in _lines(group, width, alone=alone)).strip())
    return 0


def _lines(group: SettingGroup, width: int, *, alone: bool) -> Iterator[str]:
    if not alone:
        yield from ("", f"{group.path}:" if group.path else "")
        yield from wrap(group.text, width)
        if group.same_as is not None:
            yield f"The keys are those of {group.same_as}."
    for key in group.keys:
        yield from ("", f"{key.path}: {key.values} {facts(key)}".rstrip())
        yield from wrap(key.text, width, initial_indent="    ", subsequent_indent="    ")
        if alone:
            yield from _spellings(key)


def _spellings(key: SettingKey) -> Iterator[str]:
    if key.variable is not None:
        yield from ("", f"    in the environment: {key.variable}", f"    as a secret file:   {key.variable.lower()}")
