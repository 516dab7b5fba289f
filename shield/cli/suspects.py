"""`shield cost --suspects`: what the running node has seen of keys, paths and clients that cost more than others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shield.cli.admin import instruct

_SECONDS = 15.0
_TRAITS = {
    "heads": "HEAD",
    "ranges": "ranges",
    "queries": "with a query",
    "bypassed": "can't be shared or stored",
    "absent": "absent objects",
}


def suspects(path: Path, *, as_json: bool) -> int:
    """Print them; the exit code."""
    answer = instruct(path, "/suspects", seconds=_SECONDS, method="GET")
    if answer is None or not answer[0]:
        return 2
    said = answer[1]
    if as_json:
        print(json.dumps(said, indent=2))
    else:
        print("\n".join(lines_of(said)))
    return 0


def lines_of(said: Mapping[str, Any]) -> Iterator[str]:
    """The answer of `/suspects` for people."""
    missed, suspects = said["missed"], said["suspects"]
    total = missed["missed"]
    shares = [(word, 100.0 * missed[name] / total) for name, word in _TRAITS.items() if total]
    traits = [f"{share:.0f} % {word}" for word, share in shares if share >= 0.5]
    shown = f": {', '.join(traits)}" if traits else ""
    yield f"The last {said['seconds']:.0f} s: {total:,.0f} misses{shown}"
    if not suspects:
        yield "Nothing is suspect."
    for each in suspects:
        hourly = f"; about {each['hourly']:,.2f} an hour" if each["hourly"] >= 0.005 else ""
        yield ""
        yield f"{each['kind']}: {each['name']}"
        yield f"  {each['text']}{hourly}"
        yield f"  {each['remedy']}"
