"""How thoroughly tests look: those that try things at random, or take samples, ask here for how many they try.

`TEST_DEPTH=20 pytest tests/rules` tries twenty times as many; `nox -s deep` does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

DEPTH = int(os.environ.get("TEST_DEPTH", "1"))


def tries(number: int) -> int:
    """So many at the depth of continuous integration."""
    return number * DEPTH


def some(everything: Sequence[T], sample: Sequence[T]) -> Sequence[T]:
    """The sample at the depth of continuous integration, else all of it."""
    return everything if DEPTH > 1 else sample
