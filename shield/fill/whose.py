"""Which readers of a fill may not have its answer, and must ask for themselves."""

from __future__ import annotations

from shield.fill.readers import Reader, Readers
from shield.messages import Request
from shield.rules.freshness import FreshnessRules
from shield.rules.routes import Resource
from shield.rules.verdict import Disposition, Stored, Verdict, judge_lookup


def unlike(readers: Readers, resource: Resource) -> list[Reader]:
    """Those of whom the origin would have seen another request than for this resource: what can't be reused needn't
    state all that it varies by (RFC 9110 §12.5.5).
    """
    mine, forwarding = resource.forwarded, resource.route.forwarding
    return [reader for reader in readers if forwarding.fields(reader.request) != mine]


def late(
    readers: Readers, answer: Stored, now: float, disposition: Disposition | None, rules: FreshnessRules
) -> list[Reader]:
    """Those who came after the question had gone out: to them it is a stored answer, and must be validated."""
    return [r for r in readers.late() if not may_reuse(answer, r.request, now, disposition, rules)]


def may_reuse(
    answer: Stored, request: Request, now: float, disposition: Disposition | None, rules: FreshnessRules
) -> bool:
    """Whether an answer may be given to a request that wasn't there when it was asked for (RFC 9111 §4)."""
    if disposition is not None and disposition.unstored:
        return False  # §5.2.2.4: its head has what only those may get who asked before
    verdict = judge_lookup(request, answer, now, rules)
    return verdict is Verdict.HIT or verdict is Verdict.STALE
