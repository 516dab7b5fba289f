"""The methods that `dataclasses` generates, compiled once for all starts, as modules are.

A node has four hundred dataclasses, whose methods are made of text at each import: compiling that is a quarter of
what a start costs. So the code is kept in a file beside the byte code of this module, by the text that it was made
of: a class that has changed has another text. The file is for one version of Python, as byte code is. Without it, or
without permission to write it, a start takes longer.
"""

from __future__ import annotations

import dataclasses
import marshal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import CodeType
from typing import Any
from zlib import crc32

_NAME = "<string>"  # of the file in tracebacks, as `exec` calls it
_CRC_BYTES = 4


def default_path() -> Path:
    """Where byte code of this module is, or would be."""
    return Path(cache_from_source(__file__)).with_suffix(".methods")


@contextmanager
def kept_methods(path: Path | None = None) -> Iterator[None]:
    """Dataclasses that are made meanwhile take their methods from the file, which is written anew if it lacks some.

    Nothing else may be made by other threads meanwhile.
    """
    path = path or default_path()
    known = _read(path)
    used: dict[str, CodeType] = {}

    def run(text: str, scope: dict[str, Any], names: dict[str, Any]) -> None:
        code = known.get(text)
        if code is None:
            code = compile(text, _NAME, "exec")
        used[text] = code
        exec(code, scope, names)

    module = vars(dataclasses)
    module["exec"] = run  # is found before the built-in one; the rest of the module stays as it is
    try:
        yield
    finally:
        del module["exec"]
    if used.keys() - known.keys() and not sys.dont_write_bytecode:
        with suppress(OSError):
            # Other settings import other modules: their methods stay, unless most are of earlier source.
            _write(path, used if len(known) > 2 * len(used) else known | used)


def _read(path: Path) -> dict[str, CodeType]:
    """The stored methods; none if the file is missing, damaged, or another Python's."""
    with suppress(OSError, ValueError, EOFError, TypeError):
        kept = path.read_bytes()
        head = len(MAGIC_NUMBER) + _CRC_BYTES
        body = memoryview(kept)[head:]
        if kept[:head] == MAGIC_NUMBER + crc32(body).to_bytes(_CRC_BYTES, "big"):
            known: dict[str, CodeType] = marshal.loads(body)
            return known
    return {}


def _write(path: Path, used: dict[str, CodeType]) -> None:
    """All of it or nothing: several starts may write it at once. Raises OSError."""
    body = marshal.dumps(used)
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        new = Path(file.name)
        try:
            file.write(MAGIC_NUMBER + crc32(body).to_bytes(_CRC_BYTES, "big") + body)
            file.flush()
            new.chmod(0o644)
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
