"""Parts of one version of an object, from any origin that is proven to have the same bytes.

Each origin is asked with its own validator. One whose validator isn't known is examined first: by HEAD, and if its
head proves nothing, by the bytes before the part, which are fetched again and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from shield.errors import Fault, OriginError
from shield.origin.version import Version
from shield.origin.want import Absent, Fetched, Want
from shield.rules.digests import BESIDE_ETAGS
from shield.rules.identity import OVERLAP, Proof, overlap_before, prove, state
from shield.rules.providers import Provider


class Copy(Protocol):
    """The origin, as far as it is needed here."""

    name: str
    provider: Provider

    def fetch(
        self, want: Want, *, deadline: float, clock: Callable[[], float]
    ) -> Coroutine[Any, Any, Fetched | Absent]: ...


async def fetch_same(
    copy: Copy, want: Want, version: Version, *, deadline: float, clock: Callable[[], float]
) -> Fetched | Absent:
    """The wanted part of this version from one origin. Raises OriginError: DIFFERS if it isn't proven to have it,
    VALIDATOR if it had it, and has another one by now."""
    if version.is_ruled_out(copy.name):
        raise OriginError(copy.name, Fault.DIFFERS, "its copy has other bytes")
    exact = replace(want, version=None)
    exact.etag = version.etag_at(copy.name)
    if exact.etag is None and version.of_equals:
        same = await _fetch_equal(copy, replace(exact, etag=want.etag), version, deadline=deadline, clock=clock)
        if same is not None:
            return same
    if exact.etag is None:
        examined = await _examine(copy, exact, version, deadline=deadline, clock=clock)
        if isinstance(examined, Absent):
            return examined
        exact.etag = examined
    try:
        return await copy.fetch(exact, deadline=deadline, clock=clock)
    except OriginError as error:
        if error.fault is Fault.VALIDATOR:
            version.forget(copy.name)
        raise


async def _fetch_equal(
    copy: Copy, want: Want, version: Version, *, deadline: float, clock: Callable[[], float]
) -> Fetched | Absent | None:
    """The part of a version whose ETag is the same text at this origin; None if there is none."""
    try:
        result = await copy.fetch(want, deadline=deadline, clock=clock)
    except OriginError as error:
        if error.fault is Fault.VALIDATOR:
            return None
        raise
    if isinstance(result, Fetched) and _is_no_digest(result):
        result.response.close()
        return None
    if isinstance(result, Fetched) and want.etag is not None:
        version.learn(copy.name, want.etag, Proof.ETAG)
    return result


def _is_no_digest(fetched: Fetched) -> bool:
    """Whether a response says that its ETag has nothing to do with its bytes."""
    head = fetched.response.head
    said = {name: head.get(name) for name in BESIDE_ETAGS}
    return any(value not in (None, b"AES256", b"STANDARD") for value in said.values())


async def _examine(
    copy: Copy, want: Want, version: Version, *, deadline: float, clock: Callable[[], float]
) -> Absent | bytes:
    """The ETag of the version at this origin, once that is proven. Raises OriginError."""
    result = await copy.fetch(replace(want.whole(), method=b"HEAD", choice=None), deadline=deadline, clock=clock)
    if isinstance(result, Absent):
        return result
    head = result.response.head
    result.response.close()
    theirs = state(head, md5_etags=copy.provider.md5_etags)
    proof = prove(version.statement, theirs) if head.status == 200 else Proof.NONE
    if proof is Proof.NONE or theirs.etag is None:
        version.rule_out(copy.name)
        raise OriginError(copy.name, Fault.DIFFERS, "it has other bytes, or nothing to tell them by")
    if proof is Proof.OVERLAP:
        await _compare(copy, replace(want, etag=theirs.etag), version, deadline=deadline, clock=clock)
    version.learn(copy.name, theirs.etag, proof)
    return theirs.etag


async def _compare(copy: Copy, want: Want, version: Version, *, deadline: float, clock: Callable[[], float]) -> None:
    """Fetch the bytes before the part again. Raises OriginError unless they are those received before."""
    span = None if want.span is None else overlap_before(want.span.start)
    held = None if span is None or version.held is None else await version.held(span.start, span.stop)
    if span is None or held is None:
        raise OriginError(copy.name, Fault.DIFFERS, "nothing proves that its copy has the same bytes")
    result = await copy.fetch(replace(want, span=span), deadline=deadline, clock=clock)
    if isinstance(result, Absent) or await result.response.read(OVERLAP) != held:
        version.rule_out(copy.name)
        raise OriginError(copy.name, Fault.DIFFERS, f"bytes {span.start} to {span.stop} of its copy are others")
