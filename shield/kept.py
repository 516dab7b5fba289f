"""Files of JSON that are written whole or not at all: those in the node's `state_directory`, for the time while it is
stopped, and those of commands that can be resumed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MOST_BYTES = 1 << 20


class KeptFile:
    """One such file. `directory` None: there is none, and nothing is kept."""

    def __init__(self, directory: Path | None, name: str) -> None:
        self.path = None if directory is None else directory / name
        self._writing = asyncio.Lock()

    async def keep(self, content: Callable[[], object]) -> tuple[str, ...]:
        """Write the content of now; a note for the operator if that isn't possible."""
        if self.path is None:
            return ("it isn't known after a stop of the node: state_directory names no place to keep it",)
        async with self._writing:  # the last content must be the one that stays
            try:
                await asyncio.to_thread(save, self.path, content())
            except OSError as error:
                return (f"it isn't known after a stop of the node: {self.path}: {error.strerror}",)
        return ()


def save(path: Path, content: object) -> None:
    """Write the file, all of it or nothing. Blocks. Raises OSError."""
    made = path.with_name(f"{path.name}.new")
    with made.open("w") as file:
        file.write(json.dumps(content) + "\n")
        file.flush()
        os.fsync(file.fileno())
    made.replace(path)


def load(path: Path) -> Any:
    """The content; None if there is no file. Blocks. Raises OSError, and ValueError for a damaged one."""
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return None
    except RecursionError:
        raise ValueError from None
