"""Requests with the method PURGE on the listeners for clients: admitted, carried out, answered with a receipt."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

from shield.errors import ShieldError, StoreError
from shield.messages import Request
from shield.outcome import PURGE, Outcome
from shield.purge_orders import OrderConflictError
from shield.reply import Client, Replies, Reply, WholeReply
from shield.rules.purge_access import PurgeAccess
from shield.rules.purge_orders import OrderError, order_of
from shield.rules.purging import TooManyGlobsError
from shield.spread.everywhere import Everywhere

log = logging.getLogger("shield.purge")

METHOD = b"PURGE"


class PurgeRequests:
    """Begins them. One per worker; `close` ends the wait for those whose orders go on."""

    def __init__(self, orders: Everywhere, *, clock: Callable[[], float]) -> None:
        self._orders = orders
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(
        self, request: Request, client: Client, replies: Replies, access: PurgeAccess, *, peer: str
    ) -> WholeReply:
        """Begin one of a client from this address. The client may be called back before this returns."""
        transfer = WholeReply(client)
        why = access.objection(request, peer)
        if why is not None:
            transfer.end(replies.bare(403, "forbidden", request, self._clock(), Outcome(detail=why, refused=True)))
            return transfer
        try:
            order = order_of(request, self._orders.new_id)
        except OrderError as error:
            transfer.end(self._answer(replies, 400, {"error": str(error)}, request))
            return transfer

        async def carry_out() -> None:
            try:
                receipt = await self._orders.carry_out(order, f"PURGE from {peer or 'unknown'}")
                status, said = receipt.status, receipt.shown()
            except ShieldError as error:
                status, said = _status_of(error), {"error": str(error)}
            except Exception:
                log.exception("PURGE failed")
                status, said = 500, {"error": "it failed; the log says why"}
            transfer.end(self._answer(replies, status, said, request))

        task = asyncio.get_running_loop().create_task(carry_out())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return transfer

    async def close(self) -> None:
        """Wait for the answers to those under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _answer(self, replies: Replies, status: int, said: object, request: Request) -> Reply:
        outcome = Outcome(detail=PURGE) if status < 300 else Outcome(detail="purge-refused", refused=status < 500)
        return replies.in_json(status, json.dumps(said).encode() + b"\n", request, self._clock(), outcome)


def _status_of(error: ShieldError) -> int:
    if isinstance(error, OrderConflictError | TooManyGlobsError):
        return 409
    return 500 if isinstance(error, StoreError) else 400
