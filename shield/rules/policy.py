"""Names of caching policies, as part of cache keys: an entry made under one policy is never served under another.

A route's policy is its freshness rules, its changes to response fields, and its choice of forwarded request fields.
Two routes to the same objects share entries if their policies are equal, and only then; so does one route before and
after a restart. Anything that is in the key itself (path, query, origins), or that matters only when an entry is
served or admitted, is no part of the policy.

A name is a hash of the differences from the defaults; the default policy has the empty name. So keys stay plain
where nothing is configured, and a setting that a later version adds doesn't change existing names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

_NAME_BYTES = 5

# Not part of a policy: properties of the node and of its origins' providers, of serving, and limits on requests.
_NO_POLICY = frozenset(
    {
        "surrogate",
        "honour_request_directives",
        "withheld",
        "storage",
        "md5_etags",
        "drop",
        "max_bytes",
        "max_fields",
        "mapping",
    }
)


def policy_name(parts: Iterable[tuple[Any, Any]]) -> bytes:
    """The name of a policy, b"" for the default one. Each part is a dataclass of rules and its default value.

    Equal in all processes and versions of Python. Equal parts count once, and their order doesn't matter.
    """
    spelled = {said for rules, usual in parts if (said := _differences(rules, usual))}
    if not spelled:
        return b""
    return hashlib.blake2b("\n".join(sorted(spelled)).encode(), digest_size=_NAME_BYTES).hexdigest().encode()


def _differences(rules: Any, usual: Any) -> str:
    """The fields of the rules that differ from their defaults, in a canonical spelling."""
    lines = []
    for each in fields(rules):
        value = getattr(rules, each.name)
        if each.init and each.name not in _NO_POLICY and value != getattr(usual, each.name):
            lines.append(f"{each.name}={_spelled(value)}")
    return "\n".join([type(rules).__name__, *sorted(lines)]) if lines else ""


def _spelled(value: Any) -> str:
    """The canonical spelling of a value of rules. Texts carry their length, so that spellings are unambiguous."""
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
