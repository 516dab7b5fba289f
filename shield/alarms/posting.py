"""Requests to webhooks, with httpx: it knows proxies of the environment, and is needed by few processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from shield.rules.alarms import AlarmEvent
from shield.rules.webhooks import Webhook, request_of

if TYPE_CHECKING:
    import httpx

_AGENT = "shield"


@dataclass(frozen=True, slots=True)
class PostResult:
    """The result of an attempt. `problem` is None if the webhook took the message. `retry_after` is in seconds."""

    status: int | None = None
    problem: str | None = None
    retry_after: float | None = None


class Poster:
    """Sends messages for one node. Its client is made when the first one is sent: that takes a while, in a thread."""

    def __init__(self, node: str, *, clock: Callable[[], float]) -> None:
        self._node = node
        self._clock = clock
        self._making: asyncio.Future[httpx.AsyncClient] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def post(self, webhook: Webhook, event: AlarmEvent) -> PostResult:
        """One attempt. Any status but 2xx is a problem; redirections aren't followed."""
        if self._making is None:
            self._making = asyncio.get_running_loop().run_in_executor(None, _client)
        client = await asyncio.shield(self._making)
        request = request_of(webhook, event, self._node, self._clock())
        try:
            async with asyncio.timeout(webhook.timeout):
                async with client.stream(
                    "POST", webhook.url, content=request.body, headers=list(request.fields)
                ) as response:
                    status, wait = response.status_code, response.headers.get("retry-after", "")
        except TimeoutError:
            return PostResult(problem=f"no response in {webhook.timeout:g} s")
        except Exception as error:  # httpx has several bases of its errors, and lets others through
            return PostResult(problem=_reason(error, webhook))
        if 200 <= status < 300:
            return PostResult(status)
        retry_after = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 7 else None
        return PostResult(status, f"it answers {status}", retry_after)

    async def close(self) -> None:
        """Close connections."""
        if self._making is not None:
            await (await self._making).aclose()


def _client() -> httpx.AsyncClient:
    """Reads certificates of authorities, so it blocks."""
    import httpx

    # No connection is kept: messages are rare, and an old one would fail the next of them.
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=None, limits=limits, headers={"user-agent": _AGENT})


def _reason(error: Exception, webhook: Webhook) -> str:
    """An error in words, without the URL: that may be a secret."""
    text = str(error)
    return type(error).__name__ if not text or webhook.url in text else f"{type(error).__name__}: {text}"
