"""Those for whom the parts of a large object are fetched."""

from __future__ import annotations

from typing import Protocol

from shield.errors import OriginError
from shield.origin.want import Failed

Failure = Failed | OriginError


class Audience(Protocol):
    """The readers of one version, as its fetches see them. Nothing here calls a fetch back at once."""

    has_given: bool  # bytes to readers, so that a failure can only cut these off

    def tell(self) -> None:
        """More bytes are there."""

    def tell_soon(self) -> None:
        """Something else may go on by now."""

    def be_patient(self) -> None:
        """A run waits for its readers."""

    def spend(self, size: int) -> None:
        """So many bytes came from an origin."""

    def is_thrifty(self) -> bool:
        """Whether no more may come than is taken."""

    def paced(self) -> None:
        """A run was held up for that reason."""

    def tend_soon(self) -> None:
        """Memory has come free, or a slice is held: see what can go on."""

    def settle(self) -> None:
        """A slice is on disk."""

    def is_current(self) -> bool:
        """Whether the entry's key wasn't purged since it began."""

    def run_over(self, failure: Failure | None, *, is_final: bool) -> None:
        """A fetch has ended; `is_final`: asking again is of no use."""
