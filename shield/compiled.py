"""Whether this installation is compiled: some of its modules are extension modules then (`tool.shield.compiled` in
pyproject.toml). Compiled or not, they do the same.
"""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec


def is_compiled() -> bool:
    """Whether requests are answered by compiled modules."""
    found = find_spec("shield.proxy")
    return found is not None and (found.origin or "").endswith(tuple(EXTENSION_SUFFIXES))
