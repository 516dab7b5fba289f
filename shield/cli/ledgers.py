"""The ledgers that a command reads: the node's own, and copies of other nodes'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shield.build.usage import ledger_path
from shield.config.settings import Settings
from shield.egress.ledger import Ledger, LedgerTerms
from shield.errors import StoreError
from shield.resources import state_directory


def ledgers_of(settings: Settings, others: Sequence[Path]) -> list[Ledger]:
    """All of them, each once, the own first. Raises StoreError if one isn't there, or is a copy of another one, or if
    there is none.
    """
    own = ledger_path(settings, state_directory(settings))
    paths = {path.resolve(): path for path in [*([] if own is None else [own]), *others]}.values()
    if not paths:
        raise StoreError(
            "no ledger is kept: set ledger.path or state_directory, and remove `ledger: {path: off}`, or give one by "
            "--ledger"
        )
    for path in paths:
        if not _is_there(path):
            remedy = (
                "a node with these settings writes it within seconds" if path == own else "give a copy of a node's"
            )
            raise StoreError(f"ledger {path}: there is none yet: {remedy}")
    found = [Ledger(LedgerTerms(path, settings.ledger.keep)) for path in paths]
    known: dict[int, Path] = {}
    for path, ledger in zip(paths, found, strict=True):
        identity = ledger.identity()
        if identity in known:
            raise StoreError(
                f"ledger {path}: it is a copy of {known[identity]}, so that all would count twice: give those of "
                "other nodes"
            )
        if identity:
            known[identity] = path
    return found


def _is_there(path: Path) -> bool:
    """Raises StoreError if it can't be told."""
    try:
        return path.exists()
    except OSError as error:
        raise StoreError(f"ledger {path}: {error.strerror}: run this as the node's user, or as root") from None
