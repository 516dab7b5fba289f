"""The beginning of `shield serve`: as little as may be before the node itself.

The parser of all commands would be a fifth of a start. So the command as services give it is understood without it;
whatever else there is in it (help, mistakes, variables) is the parser's.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from shield.generated import kept_methods
from shield.signals import outlive

_CONFIG = ("--config", "-c")
_WATCH = "--watch"


class ServeWish(NamedTuple):
    """The arguments of `shield serve`."""

    config: Path
    watch: bool = False


def plain_wish(words: Sequence[str]) -> ServeWish | None:
    """The wish in `serve --config FILE [--watch]`, in any order; None: the words are for the parser."""
    match words:
        case ["serve", option, config] | ["serve", option, config, "--watch"] | ["serve", "--watch", option, config]:
            if option in _CONFIG and config and not config.startswith("-"):
                return ServeWish(Path(config), watch=_WATCH in words)
    return None


def start(wish: ServeWish) -> int:
    """Run a node; the exit code."""
    outlive()  # an order to reload or upgrade may come at once
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the node takes it: no traceback of an import
    gc.disable()  # what is imported stays, and is only walked in vain; `supervise` enables it
    with kept_methods():
        from shield.serving import serve

    return serve(wish.config, watch=wish.watch)
