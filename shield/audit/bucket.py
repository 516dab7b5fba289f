"""An origin of an audit: pages of its listing, heads and digests of its objects, with retries after faults."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote_from_bytes

from shield.audit.listing import PAGE, ListedObject, ListingError, ListingPage, page_query, parse_page
from shield.errors import Fault, OriginError
from shield.messages import ResponseHead
from shield.origin.decoding import decoded
from shield.origin.origin import Origin
from shield.origin.response import Response
from shield.origin.want import Absent, Fetched, Want
from shield.rules.attempts import is_transient
from shield.rules.digests import md5_of_etag

T = TypeVar("T")

ATTEMPTS = 6
"""Attempts at one page, head or body: with the waits between them, an outage of half a minute is survived."""

LONGEST_WAIT = 60.0
"""Seconds before a retry at most, whatever Retry-After says."""

_FIRST_WAIT = 0.5
_HEAD_SECONDS = 60.0  # listings of large buckets take their time
_PAGE_BYTES = 16 << 20  # a thousand keys of 1,024 bytes, each written as %XX, take a quarter
_PASSING = frozenset(
    {
        Fault.CONNECT_TIMEOUT,
        Fault.POOL_TIMEOUT,
        Fault.FIRST_BYTE_TIMEOUT,
        Fault.BETWEEN_BYTES_TIMEOUT,
        Fault.RESOLVE,
        Fault.SHORT_BODY,
    }
)


@dataclass(frozen=True, slots=True)
class ObjectContents:
    """The size of an object's body in bytes, and its SHA-256, as received."""

    size: int
    digest: bytes


class ListedBucket:
    """One origin of an audit. `clock` returns epoch seconds, `chance` numbers from 0 to 1; `sleep` waits."""

    def __init__(
        self,
        origin: Origin,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = origin.name
        self.read_bytes = self.read_objects = 0
        """Bytes and bodies of objects received, including those of failed attempts."""
        self._origin = origin
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._loop = asyncio.get_running_loop()

    async def page(
        self, prefix: bytes, *, after: bytes | None, token: bytes | None = None, keys: int = PAGE
    ) -> ListingPage:
        """The page of keys after `after`. Raises OriginError, ListingError."""
        query = page_query(prefix, after=after, token=token, keys=keys)
        body = await self._persistently(Want(b"GET", b"/", query), self._document)
        try:
            if body is None:
                raise ListingError("it says that there is no such thing; is the bucket's name right?")
            return parse_page(body, prefix, after=after)
        except ListingError as error:
            raise ListingError(f"origin {self.name}: its listing can't be used: {error}") from None

    async def listed(self, key: bytes) -> ListedObject | None:
        """The object's present entry in the listing, None without one. Raises OriginError, ListingError."""
        page = await self.page(key, after=None, keys=1)
        return page.objects[0] if page.objects and page.objects[0].key == key else None

    async def is_md5(self, key: bytes) -> bool | None:
        """Whether the ETag is the MD5 of the object, according to its head; None if the object is gone."""
        return await self._persistently(Want(b"HEAD", _path(key)), _has_md5)

    async def contents(self, key: bytes) -> ObjectContents | None:
        """Read all bytes of an object: their size and digest; None if it is absent. Raises OriginError."""
        return await self.body(_path(key))

    async def body(self, path: bytes, query: bytes = b"") -> ObjectContents | None:
        """The same of a canonical path and query."""
        return await self._persistently(Want(b"GET", path, query), self._digest)

    async def _persistently(self, want: Want, take: Callable[[Response], Awaitable[T]]) -> T | None:
        """The result of `take`, after several attempts if necessary; None if it is absent. Raises OriginError."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._once(want, take)
            except OriginError as error:
                if attempt == ATTEMPTS or not _passes(error):
                    raise
                wait = wait_before(attempt, self._chance(), error.retry_after)
            await self._sleep(wait)

    async def _once(self, want: Want, take: Callable[[Response], Awaitable[T]]) -> T | None:
        answer = await self._origin.fetch(want, deadline=self._loop.time() + _HEAD_SECONDS, clock=self._clock)
        if isinstance(answer, Absent):
            return None
        assert isinstance(answer, Fetched)
        try:
            return await take(answer.response)
        finally:
            answer.response.close()

    async def _document(self, response: Response) -> bytes:
        body = await response.read(_PAGE_BYTES + 1)
        body = decoded(body, response.head.get(b"content-encoding"), limit=_PAGE_BYTES + 1)
        if len(body) > _PAGE_BYTES:
            raise OriginError(self.name, Fault.MALFORMED, f"a page of the listing is larger than {_PAGE_BYTES} bytes")
        return body

    async def _digest(self, response: Response) -> ObjectContents:
        status = response.head.status
        if status != 200:  # a web server's own refusal or redirection
            raise OriginError(self.name, Fault.REFUSED, f"{status} in place of the object", status=status)
        hashing = _Hashing(self._loop.create_future())
        response.start(hashing)
        try:
            await hashing.done
        finally:
            self.read_bytes += hashing.size
            self.read_objects += 1
        if hashing.error is not None:
            raise hashing.error
        return ObjectContents(hashing.size, hashing.hash.digest())


class _Hashing:
    """A sink that hashes bytes without keeping them."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.hash = hashlib.sha256()
        self.size = 0
        self.error: OriginError | None = None

    def on_data(self, data: bytes) -> None:
        self.hash.update(data)
        self.size += len(data)

    def on_end(self, error: OriginError | None) -> None:
        self.error = error
        if not self.done.done():
            self.done.set_result(None)


def wait_before(attempt: int, chance: float, retry_after: float | None) -> float:
    """Seconds to wait after attempt number `attempt`: exponential backoff with jitter, plus Retry-After."""
    wait = chance * _FIRST_WAIT * 2.0**attempt
    return min(LONGEST_WAIT, wait + (retry_after or 0.0))


def _passes(error: OriginError) -> bool:
    return error.fault in _PASSING or is_transient(error.fault, error.status)


async def _has_md5(response: Response) -> bool:
    return _is_md5(response.head)


def _is_md5(head: ResponseHead) -> bool:
    # Google's ETags of objects encrypted by a key of the customer look like an MD5, too.
    return head.get(b"x-goog-encryption-kms-key-name") is None and md5_of_etag(head) is not None


def _path(key: bytes) -> bytes:
    return b"/" + quote_from_bytes(key, safe="/").encode()
