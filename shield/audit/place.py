"""The progress of an audit, saved in a small file, so that another run can continue from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from shield.audit.judgement import Tally
from shield.errors import ShieldError
from shield.kept import load, save

_FORMAT = 1


class AuditPlaceError(ShieldError):
    """A file that isn't the saved progress of this audit, or can't be written."""


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """The last key that has been audited, and the counts up to it."""

    after: bytes
    tallies: Mapping[str, Tally]


class AuditPlaceFile:
    """The file with the progress of one audit. `audit` identifies it: prefix, origins and depth, as plain values."""

    def __init__(self, path: Path, audit: Mapping[str, Any]) -> None:
        self._path = path
        self._audit = dict(audit)

    def read(self) -> AuditPlace | None:
        """The saved progress; None if there is no such file. Raises AuditPlaceError."""
        if not self._path.exists():
            return None
        try:
            said = load(self._path)
        except OSError as error:
            raise AuditPlaceError(f"{self._path}: can't be read: {error.strerror}") from None
        except ValueError:
            raise AuditPlaceError(
                f"{self._path}: holds no place of an audit; name another file, or delete it"
            ) from None
        if not isinstance(said, dict) or said.get("format") != _FORMAT:
            raise AuditPlaceError(f"{self._path}: holds no place of an audit; name another file, or delete it")
        if said.get("audit") != self._audit:
            held = json.dumps(said.get("audit"))[:500]
            raise AuditPlaceError(f"{self._path}: holds the place of another audit ({held}); name another file")
        try:
            tallies = {name: Tally(**values) for name, values in said["tallies"].items()}
            return AuditPlace(unquote_to_bytes(said["after"]), tallies)
        except (KeyError, TypeError, AttributeError):
            raise AuditPlaceError(f"{self._path}: is damaged; delete it to begin anew") from None

    def write(self, place: AuditPlace) -> None:
        """Replace the file atomically. Raises AuditPlaceError."""
        said = {
            "format": _FORMAT,
            "audit": self._audit,
            "after": quote_from_bytes(place.after, safe="/"),
            "tallies": {name: tally.as_dict() for name, tally in place.tallies.items()},
        }
        try:
            save(self._path, said)
        except OSError as error:
            raise AuditPlaceError(f"{self._path}: can't be written: {error.strerror}") from None

    def remove(self) -> None:
        """Remove the file: the audit is complete, and the next one starts from the beginning."""
        self._path.unlink(missing_ok=True)
