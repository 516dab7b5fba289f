"""The results of drills in a bounded file: a line of JSON each, oldest first."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 20
"""From this size on the older half of the file is dropped: some thousand drills."""


class DrillHistory:
    """All methods block. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """All entries that are whole; those of a later version may have more in them."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return [entry for line in data.splitlines() if (entry := _entry(line)) is not None]

    def append(self, entry: Mapping[str, Any]) -> None:
        """Keep an entry, even if the machine fails right after this."""
        line = _line(entry)
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            if file.tell() and not self._ends_whole():
                line = b"\n" + line  # a former process was killed while it wrote
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        if size > MOST_BYTES:
            self._shorten()

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _shorten(self) -> None:
        """Drop the oldest entries, except the last proof of each origin and the note on when it was first there."""
        entries = self.read()
        lasting = {entry["origin"]: entry for entry in entries if entry.get("proved")}
        kept: list[dict[str, Any]] = []
        left = MOST_BYTES // 2
        for entry in reversed(entries):
            left -= len(_line(entry))
            if left > 0 or entry.get("is_first") or lasting.get(entry["origin"]) is entry:
                kept.append(entry)
        fresh = self.path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.writelines([_line(entry) for entry in reversed(kept)])
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_whole = isinstance(entry, dict) and isinstance(entry.get("origin"), str)
    if not is_whole or isinstance(entry.get("began_at"), bool) or not isinstance(entry.get("began_at"), int | float):
        return None
    return dict(entry)
