"""Calls of CDNs' APIs, with httpx: it knows proxies of the environment, and is needed by one process alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shield.cdn.keys import EdgeKeys
from shield.errors import CredentialsError
from shield.rules.edge_purge import (
    CorruptTerms,
    EdgeAnswer,
    EdgeCall,
    EdgeSecrets,
    PurgeEdge,
    fields_of,
    judge_answer,
)

if TYPE_CHECKING:
    import httpx

_SECONDS = 15.0
_REFUSED = (400, 401, 403)  # AWS answers 400 and 403 for credentials that have expired or ended
_MOST_READ = 16 << 10  # bytes of a response


@dataclass(frozen=True, slots=True)
class EdgeTarget:
    """A CDN's configuration, the base URL of its API, and what admits calls: `secrets`, or those that `keys` obtain.
    `again`: seconds until an order is sent once more; 0: it isn't. `corrupt`: what it gets of objects that may be
    wrong.
    """

    edge: PurgeEdge
    api: str
    secrets: EdgeSecrets = field(repr=False)
    again: float = 0.0
    keys: EdgeKeys | None = None
    corrupt: CorruptTerms = field(default_factory=CorruptTerms)


class EdgePoster:
    """Makes calls. Its client is made when the first one is: that takes a while, in a thread."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._making: asyncio.Future[httpx.AsyncClient] | None = None

    async def post(self, target: EdgeTarget, call: EdgeCall) -> EdgeAnswer:
        """One attempt. Redirections aren't followed: they would take the token elsewhere."""
        if self._making is None:
            self._making = asyncio.get_running_loop().run_in_executor(None, _client)
        client = await asyncio.shield(self._making)
        secrets = target.secrets
        if target.keys is not None:
            try:
                keys = await target.keys.current()
            except CredentialsError as error:
                return EdgeAnswer(str(error))
            secrets = EdgeSecrets("", keys.access_key_id, keys.secret_key, keys.session_token or "")
        fields = fields_of(target.edge, target.api, secrets, call, self._clock())
        try:
            async with asyncio.timeout(_SECONDS):
                async with client.stream(
                    "POST", target.api + call.target, content=call.body.encode(), headers=fields
                ) as response:
                    body = b""
                    async for data in response.aiter_bytes():
                        body += data
                        if len(body) >= _MOST_READ:
                            break
        except TimeoutError:
            return EdgeAnswer(f"no response in {_SECONDS:g} s")
        except Exception as error:  # httpx has several bases of its errors, and lets others through
            text = str(error)
            return EdgeAnswer(f"{type(error).__name__}: {text}" if text else type(error).__name__)
        said = body[:_MOST_READ].decode("utf-8", "replace")
        if target.keys is not None and response.status_code in _REFUSED:
            target.keys.refused()
        return judge_answer(response.status_code, said, response.headers.get("retry-after", ""))

    async def close(self) -> None:
        """Close connections."""
        if self._making is not None:
            await (await self._making).aclose()


def _client() -> httpx.AsyncClient:
    """Reads certificates of authorities, so it blocks."""
    import httpx

    return httpx.AsyncClient(timeout=None, headers={"user-agent": "shield"})
