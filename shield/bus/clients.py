"""Clients of redis-py for an engine: that of one server, of the primary that sentinels know, or of a cluster's server
with our slot. None of them repeats a command.

redis-py's own client of a cluster isn't used: before its first command, and after each failure, it asks the first of
all primaries for its commands, so that one that is frozen takes the whole cluster away, whoever has our slot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from shield.bus.address import EngineAddress, EngineKind

Command = Callable[[Any], Awaitable[Any]]
"""One command, on a client or in a pipeline."""

_REDIRECTS = 5


class Clients(Protocol):
    """The servers of an engine."""

    async def run(self, command: Command) -> Any:
        """The answer to a command. Raises RedisError, OSError or TimeoutError."""

    async def close(self) -> None:
        """Release all connections. Raises as `run` does."""


def clients_of(address: EngineAddress, seconds: float) -> Clients:
    """Those of an address. Each connection and each answer gets so many seconds. Raises ImportError without redis-py,
    and OSError if files of TLS can't be read.
    """
    terms = _terms(address, seconds)
    if address.kind is EngineKind.CLUSTER:
        return OneSlot(address.servers, terms)
    if address.kind is EngineKind.SENTINEL:
        return _sentinel(address, seconds, terms)
    import redis.asyncio

    host, port = address.servers[0]
    place: dict[str, Any] = {"host": host, "port": port} if port else {"unix_socket_path": host}
    return OneServer(redis.asyncio.Redis(**place, db=address.database, **terms))


def _terms(address: EngineAddress, seconds: float) -> dict[str, Any]:
    """What all connections to it have in common."""
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    terms: dict[str, Any] = {
        "username": address.user,
        "password": address.password,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "shield",
        "protocol": 2,  # with the third, some answers have other shapes
    }
    if address.is_tls:
        terms |= {
            "ssl": True,
            "ssl_ca_certs": address.ca_file,
            "ssl_certfile": address.certificate_file,
            "ssl_keyfile": address.key_file,
        }
    return terms


class OneServer:
    """A server, or the primary that sentinels know."""

    def __init__(self, client: Any, *others: Any) -> None:
        self._client = client
        self._others = others

    async def run(self, command: Command) -> Any:
        return await command(self._client)

    async def close(self) -> None:
        for client in (self._client, *self._others):
            await client.aclose()


def _sentinel(address: EngineAddress, seconds: float, terms: dict[str, Any]) -> OneServer:
    from redis.asyncio.sentinel import Sentinel

    own = {name: value for name, value in terms.items() if name not in ("username", "password")}
    own["password"] = address.sentinel_password
    sentinel = Sentinel(list(address.servers), sentinel_kwargs=own, **terms)
    return OneServer(sentinel.master_for(address.service, db=address.database), sentinel)


class OneSlot:
    """The server of a cluster that has the slot of our keys: they have a hash tag, and so one slot.

    Any server is asked at first; one without the slot names the one that has it. What fails is done with: the next
    command goes to the next server that is known.
    """

    def __init__(self, servers: tuple[tuple[str, int], ...], terms: dict[str, Any]) -> None:
        self._terms = terms
        self._known = list(servers)  # the one that is asked first
        self._clients: dict[tuple[str, int], Any] = {}

    async def run(self, command: Command) -> Any:
        from redis.exceptions import AskError, ClusterDownError, ConnectionError, MovedError, TimeoutError

        for _ in range(_REDIRECTS):
            server = self._known[0]
            try:
                return await command(self._client(server))
            except MovedError as moved:
                self._prefer((moved.host or server[0], moved.port))
            except AskError as ask:  # the slot is on its way there
                pipeline = self._client((ask.host or server[0], ask.port)).pipeline(transaction=False)
                pipeline.execute_command("ASKING")
                await command(pipeline)
                return (await pipeline.execute())[-1]
            except (ConnectionError, TimeoutError, ClusterDownError, OSError):
                self._known = [*self._known[1:], server]
                raise
        raise ConnectionError("its servers name each other as the one that has our slot")

    def _prefer(self, server: tuple[str, int]) -> None:
        self._known = [server, *[each for each in self._known if each != server]]

    def _client(self, server: tuple[str, int]) -> Any:
        client = self._clients.get(server)
        if client is None:
            import redis.asyncio

            client = self._clients[server] = redis.asyncio.Redis(host=server[0], port=server[1], **self._terms)
        return client

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
