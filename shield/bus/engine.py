"""The bus on Valkey or Redis, from version 6.2 on, by redis-py.

All keys have the same hash tag, so that they are on one server of a cluster. Scripts are sent by their digests, and
whole to an engine that doesn't know them.

redis-py repeats what failed, by default ten times with growing pauses: a server that is stopped in its tracks costs
half a minute then. Here nothing is repeated, and each command has two seconds: who needs the bus comes again anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from shield.bus.address import EngineAddress
from shield.bus.bus import BEGINNING, MOST_ENTRIES, BusEntry, BusError, BusTick, Granted, LeaseClaim
from shield.bus.clients import clients_of
from shield.bus.reasons import reason

_SECONDS = 2.0  # for a command, and as much for a connection
_AT_ONCE = 100  # entries read at a time; each has 256 KiB at most
_WAIT_MILLISECONDS = 1000  # for an entry, at most: less than a command's time
_FIELD = b"d"

_TICK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = redis.call('GET', KEYS[1])
if not epoch then epoch = ARGV[4]; redis.call('SET', KEYS[1], epoch) end
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', now + ARGV[3]) .. ' ' .. ARGV[2])
local said, all = {}, redis.call('HGETALL', KEYS[2])
for at = 1, #all, 2 do
  local expires, rest = string.match(all[at + 1], '^(%d+) (.*)$')
  if expires and tonumber(expires) > now then
    said[#said + 1] = all[at]; said[#said + 1] = rest
  else
    redis.call('HDEL', KEYS[2], all[at])
  end
end
local newest = {}
for at = 3, #KEYS do
  local last = redis.call('XREVRANGE', KEYS[at], '+', '-', 'COUNT', 1)
  newest[#newest + 1] = last[1] and last[1][1] or '0-0'
end
return {epoch, newest, said}
"""

_LEASE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {}
for at = 1, #KEYS do
  local cost, tolerance = tonumber(ARGV[2 * at - 1]), tonumber(ARGV[2 * at])
  local due = math.max(tonumber(redis.call('GET', KEYS[at]) or '0'), now)
  local granted = 0
  if tolerance < 0 or due - now <= tolerance then
    granted = 1
    due = due + cost
    if cost > 0 then
      redis.call('SET', KEYS[at], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 1)
    end
  end
  answers[2 * at - 1] = granted
  answers[2 * at] = string.format('%.0f', due - now)
end
return answers
"""


class EngineBus:
    """One worker's connections to an engine. `prefix` tells clusters apart that share one.

    Raises BusError if redis-py isn't installed.
    """

    def __init__(self, address: EngineAddress, *, prefix: str = "shield", seconds: float = _SECONDS) -> None:
        self._address = address
        self._prefix = prefix
        self._seconds = seconds
        try:
            import redis.asyncio
        except ImportError:
            raise BusError("the bus needs redis-py: pip install 'shield[cluster]'") from None
        self._errors: tuple[type[Exception], ...] = (redis.asyncio.RedisError, OSError, TimeoutError)
        self._is_unknown = redis.exceptions.NoScriptError
        self._clients = clients_of(address, seconds)
        self._is_known = False  # it has answered

    @property
    def place(self) -> str:
        return str(self._address)

    async def append(self, stream: str, data: bytes, keep: int = MOST_ENTRIES) -> str:
        async with self._in_time():
            key = self._key(stream)
            position: bytes = await self._clients.run(
                lambda client: client.xadd(key, {_FIELD: data}, maxlen=keep, approximate=True)
            )
        return position.decode()

    async def read_from(self, cursors: Mapping[str, str], seconds: float) -> list[BusEntry]:
        keys = {self._key(stream): position for stream, position in cursors.items()}
        names = {self._key(stream).encode(): stream for stream in cursors}
        block = min(int(seconds * 1000), _WAIT_MILLISECONDS)
        async with self._in_time():
            found: Any = await self._clients.run(
                lambda client: client.xread(keys, count=_AT_ONCE, block=block or None)
            )
        items = found.items() if isinstance(found, dict) else found or ()
        entries = []
        for key, lists in items:
            for position, fields in _flat(lists):
                entries.append(BusEntry(names[key], position.decode(), (fields or {}).get(_FIELD, b"")))
        return entries

    async def tick(self, node: str, said: bytes, lifetime: float, streams: Sequence[str] = ()) -> BusTick:
        keys = [self._key("epoch"), self._key("nodes"), *[self._key(stream) for stream in streams]]
        arguments = [node, said, str(int(lifetime * 1000)), secrets.token_hex(8)]
        async with self._in_time():
            epoch, newest, all_said = await self._script(_TICK, keys, arguments)
        positions = dict(zip(streams, [each.decode() or BEGINNING for each in newest], strict=True))
        pairs = zip(all_said[::2], all_said[1::2], strict=True)
        return BusTick(epoch.decode(), positions, {name.decode(): text for name, text in pairs})

    async def lease(self, claims: Sequence[LeaseClaim]) -> list[Granted]:
        if not claims:
            return []
        keys = [self._key(f"lease:{claim.name}") for claim in claims]
        arguments = [
            str(number) for _, cost, most in claims for number in (max(0, cost), -1 if most is None else most)
        ]
        async with self._in_time():
            answers: list[Any] = await self._script(_LEASE, keys, arguments)
        return [
            Granted(bool(granted), int(ahead)) for granted, ahead in zip(answers[::2], answers[1::2], strict=True)
        ]

    async def close(self) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._clients.close()
        except self._errors:
            return

    async def _script(self, text: str, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        count, both = len(keys), (*keys, *arguments)
        try:
            digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            return await self._clients.run(lambda client: client.evalsha(digest, count, *both))
        except self._is_unknown:
            return await self._clients.run(lambda client: client.eval(text, count, *both))

    def _key(self, name: str) -> str:
        return f"{{{self._prefix}}}:{name}"

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Whatever redis-py waits for, a command ends in time. Raises BusError; and CancelledError where redis-py has
        swallowed one, so that a task which is cancelled ends.
        """
        task = asyncio.current_task()
        assert task is not None
        cancels = task.cancelling()
        try:
            async with asyncio.timeout(2.0 * self._seconds):
                yield
                self._is_known = True
        except self._errors as error:
            if task.cancelling() == cancels:
                why = reason(error, is_tls=self._address.is_tls, is_known=self._is_known)
                raise BusError(f"bus {self._address}: {why}") from None
        if task.cancelling() > cancels:
            raise asyncio.CancelledError


def _flat(lists: Any) -> list[tuple[bytes, Any]]:
    """Entries as (position, fields), whatever redis-py's version wraps around them."""
    if len(lists) == 1 and isinstance(lists[0], list):
        lists = lists[0]
    return [(position, fields) for position, fields in lists]
