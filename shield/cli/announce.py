"""shield announce: tells the running node of objects that are new, changed or deleted at the primary."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from shield.cli.check import read
from shield.cli.store.node import RunningNode
from shield.errors import RequestError, ShieldError
from shield.rules.written import name_of


def announce(path: Path, urls: Sequence[str], *, word: str, prefetch: bool) -> int:
    """Print the result; 0, or 2 when it couldn't be done."""
    loaded = read(path)
    if loaded is None:
        return 2
    try:
        wish = {word: [name_of(url).decode() for url in urls], "prefetch": prefetch}
        node = RunningNode(loaded.settings)
        if node.state() is None:
            print(node.absence, file=sys.stderr)
            return 2
        said = node.must("/announce", wish)
    except RequestError as error:
        print(f"a path would be rejected in a request: {error}", file=sys.stderr)
        return 2
    except ShieldError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"announced {said.get('announced')}, removed {said.get('removed')}, fetching {said.get('prefetched')}")
    return 0
