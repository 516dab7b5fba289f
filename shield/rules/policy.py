"""By which policy entries are made, as a short name in their keys: what one policy stored is never served by another.

What a route stores is decided by its freshness rules, by what it makes of response fields, and by which request
fields it forwards. Two routes to the same objects share entries if these are equal, and only then; so do one route
before and after a restart. What is in a key in full (path, query, origins), and what counts when an entry is served
or refused a place, is no part of the policy.

A name tells the differences from what holds where nothing is configured, which has the empty name. So keys stay
plain where all is left at its defaults, and a setting that a later version adds changes no name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

_NAME_BYTES = 5

# Of the node (its name, what its origins are by their providers), of serving, or a bound on requests.
_NO_POLICY = frozenset(
    {"surrogate", "honour_request_directives", "storage", "md5_etags", "drop", "max_bytes", "max_fields", "mapping"}
)


def policy_name(parts: Iterable[tuple[Any, Any]]) -> bytes:
    """The name of a policy: of each part its rules, a dataclass, and those that hold where nothing is configured.

    The same in each process, under each version of Python. Parts that say the same count once, in no order.
    """
    spelled = {said for rules, usual in parts if (said := _differences(rules, usual))}
    if not spelled:
        return b""
    return hashlib.blake2b("\n".join(sorted(spelled)).encode(), digest_size=_NAME_BYTES).hexdigest().encode()


def _differences(rules: Any, usual: Any) -> str:
    """What of the rules isn't as usual, in one spelling."""
    lines = []
    for each in fields(rules):
        value = getattr(rules, each.name)
        if each.init and each.name not in _NO_POLICY and value != getattr(usual, each.name):
            lines.append(f"{each.name}={_spelled(value)}")
    return "\n".join([type(rules).__name__, *sorted(lines)]) if lines else ""


def _spelled(value: Any) -> str:
    """A value of rules in one spelling; lengths are stated, so that none can be taken for another."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float)):
        return repr(float(value))
    if isinstance(value, (str, bytes)):
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        return f"{len(text)}:{text!a}"
    if isinstance(value, Mapping):
        return _spelled({(key, said) for key, said in value.items()})
    if isinstance(value, (frozenset, set)):
        return "{" + ",".join(sorted(map(_spelled, value))) + "}"
    if isinstance(value, tuple):
        return "(" + ",".join(map(_spelled, value)) + ")"
    raise TypeError(f"{type(value).__name__} has no spelling")
