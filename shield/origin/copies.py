"""One version of an object at any origin that is proven to have the same bytes: parts of it, and its validation.

Each origin is asked with its own validator. One whose validator isn't known is examined first: by HEAD, and if its
head proves nothing, by the bytes before the part, which are fetched again and compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from shield.errors import Fault, OriginError
from shield.messages import ResponseHead
from shield.origin.version import Version
from shield.origin.want import Absent, Fetched, Want
from shield.rules.digests import CHECKSUMS, WORDS, has_opaque_etag
from shield.rules.identity import COMPUTED, OVERLAP, Proof, Statement, overlap_before, prove, state, with_digests
from shield.rules.providers import Provider

SMALL = 64 << 10
"""Bytes of a body that are read, or digested, at once."""

_OF_THE_COPY = frozenset({b"etag", b"last-modified", b"content-length", *WORDS, *CHECKSUMS})


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
    VALIDATOR if it had it, and has another one by now.

    Without a span: the response to the validation of this version, a 304 if the origin still has the same bytes.
    """
    if want.span is None:
        return await _validate(copy, want, version, deadline=deadline, clock=clock)
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
    if isinstance(result, Fetched) and has_opaque_etag(result.response.head):
        result.response.close()
        return None
    if isinstance(result, Fetched) and want.etag is not None:
        version.learn(copy.name, want.etag, Proof.ETAG)
    return result


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
    result = await copy.fetch(replace(want, span=span, choice=None), deadline=deadline, clock=clock)
    if isinstance(result, Absent) or await result.response.read(OVERLAP) != held:
        version.rule_out(copy.name)
        raise OriginError(copy.name, Fault.DIFFERS, f"bytes {span.start} to {span.stop} of its copy are others")


async def _validate(
    copy: Copy, want: Want, version: Version, *, deadline: float, clock: Callable[[], float]
) -> Fetched | Absent:
    """The response of one origin to a conditional request, which is asked with its own ETag if that is known."""
    own, asked = version.etag_at(copy.name), replace(want, version=None)
    is_translated = own is not None and own != want.etag
    if own is not None and is_translated:
        asked.etag, asked.validators = own, ((b"if-none-match", own),)
    result = await copy.fetch(asked, deadline=deadline, clock=clock)
    if isinstance(result, Absent):
        return result
    head = result.response.head
    if head.status == 304 and is_translated:
        result.response.head = _unchanged(head)
    elif head.status == 200 and want.method == b"GET" and head.get(b"etag") != want.etag:
        theirs = state(head, md5_etags=copy.provider.md5_etags)
        proof = await _compared(version, theirs)
        if theirs.etag is not None and proof.is_full:
            version.learn(copy.name, theirs.etag, proof)
            result.response.head = _unchanged(head)
            if head.length is None or head.length > SMALL:
                result.response.close()
            else:
                await result.response.read(SMALL)  # which keeps the connection
        else:
            version.forget(copy.name)
    return result


async def _compared(version: Version, theirs: Statement) -> Proof:
    """The proof that a copy has the bytes of a version, if need be by digests of these, which are computed now."""
    ours, body = version.statement, version.body
    proof = prove(ours, theirs)
    if proof is not Proof.OVERLAP or not body or not (theirs.stated.keys() & COMPUTED or theirs.md5):
        return proof
    if ours.length is not None and ours.length <= SMALL:
        computed = with_digests(ours, body)
    else:
        computed = await asyncio.get_running_loop().run_in_executor(None, with_digests, ours, body)
    version.statement = computed
    return prove(computed, theirs)


def _unchanged(head: ResponseHead) -> ResponseHead:
    """A 304 for the version that is stored, of a response for the same bytes under another ETag."""
    fields = [line for line in head.fields if line[0] not in _OF_THE_COPY]
    return ResponseHead(304, tuple(fields), None)
