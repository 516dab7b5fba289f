"""Whether an origin may be drained, and the effect. Pure.

A drained origin is asked after all others that work, so a drain is never an outage: where no other origin is left, it
is asked all the same. A drain that would change nothing at all is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def objection(name: str, drained: Collection[str], routes: Mapping[str, Sequence[str]]) -> str | None:
    """The reason to refuse the drain of an origin beside those that are drained already; None if it has an effect.

    `routes` are the origins of each route.
    """
    served = [names for names in routes.values() if name in names]
    if not served or any(_left(name, drained, names) for names in served):
        return None
    others = sorted({each for names in served for each in names if each != name})
    if not others:
        return f"{name} is the only origin of its routes: nothing else could serve them"
    are = f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} drained already"
    return f"{are}: restore one of them first, so that another origin can serve"


def notes(name: str, drained: Collection[str], routes: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each route whose fetches go to the origin all the same."""
    return [
        f"route {route} has no other origin that isn't drained: {name} is asked all the same"
        for route, names in routes.items()
        if name in names and not _left(name, drained, names)
    ]


def _left(name: str, drained: Collection[str], names: Sequence[str]) -> bool:
    return any(each != name and each not in drained for each in names)
