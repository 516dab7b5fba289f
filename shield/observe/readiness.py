"""Whether a node wants traffic, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Readiness:
    """`troubles` has a line for each thing that is wrong, whether or not it keeps the node from being ready."""

    ready: bool
    troubles: Sequence[str] = ()

    def __str__(self) -> str:
        word = "ready" if self.ready else "not ready"
        return "".join(f"{line}\n" for line in (word, *self.troubles))
