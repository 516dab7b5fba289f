"""The progress of a run, saved in a small file, so that another run can go on from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from shield.errors import ShieldError
from shield.kept import load, save

_FORMAT = 1


class WarmPlaceError(ShieldError):
    """A file that isn't the saved progress of this run, or can't be written."""


@dataclass(slots=True)
class WarmTotals:
    """URLs by result, and bytes by origin."""

    results: dict[str, int] = field(default_factory=dict)
    origin_bytes: dict[str, int] = field(default_factory=dict)

    def count(self, result: str, size: int, origin: str | None) -> None:
        self.results[result] = self.results.get(result, 0) + 1
        if size:
            name = origin or "unknown"
            self.origin_bytes[name] = self.origin_bytes.get(name, 0) + size

    @property
    def urls(self) -> int:
        return sum(self.results.values())

    @property
    def bytes(self) -> int:
        return sum(self.origin_bytes.values())


class WarmPlaceFile:
    """`identity` is what makes a run the same, as plain values."""

    def __init__(self, path: Path, identity: Mapping[str, object]) -> None:
        self._path = path
        self._identity = dict(identity)

    def read(self) -> tuple[int | str, WarmTotals] | None:
        """The place to go on from, and the totals up to it; None if there is no such file. Raises WarmPlaceError."""
        if not self._path.exists():
            return None
        try:
            said = load(self._path)
        except OSError as error:
            raise WarmPlaceError(f"{self._path}: can't be read: {error.strerror}") from None
        except ValueError:
            said = None
        if not isinstance(said, dict) or said.get("format") != _FORMAT:
            raise WarmPlaceError(f"{self._path}: holds no place of shield warm; name another file, or delete it")
        if said.get("warm") != self._identity:
            held = json.dumps(said.get("warm"))[:300]
            raise WarmPlaceError(f"{self._path}: holds the place of another run ({held}); name another file")
        try:
            totals = WarmTotals(dict(said["totals"]["results"]), dict(said["totals"]["origin_bytes"]))
            after = said["after"]
            if not isinstance(after, int | str):
                raise TypeError
            return after, totals
        except (KeyError, TypeError, ValueError):
            raise WarmPlaceError(f"{self._path}: is damaged; delete it to begin anew") from None

    def write(self, after: int | str, totals: WarmTotals) -> None:
        """Replace the file atomically. Raises WarmPlaceError."""
        said = {"format": _FORMAT, "warm": self._identity, "after": after, "totals": asdict(totals)}
        try:
            save(self._path, said)
        except OSError as error:
            raise WarmPlaceError(f"{self._path}: can't be written: {error.strerror}") from None

    def remove(self) -> None:
        """The run is complete: the next one begins anew."""
        self._path.unlink(missing_ok=True)
