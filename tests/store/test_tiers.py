"""The tiers as one store: requests that wait for a disk are answered, whatever goes wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shield.store.entry import Entry
from shield.store.tiers import Cold, Store
from tests.compiled import INTERPRETED_ONLY
from tests.store.samples import entry
from tests.store.worker_ground import stores, written


@INTERPRETED_ONLY
def test_a_bug_after_a_read_from_a_disk_leaves_no_request_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Entry:
        raise RuntimeError("a bug")

    async def run() -> None:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda loop, context: told.append(str(context["exception"])))
        async with stores(tmp_path, memory=0) as (store,):
            store.commit(entry("a"))
            await written(store)
            place = store._disk and store._disk.lookup(entry("a").key.digest)
            assert place
            with monkeypatch.context() as patched:
                patched.setattr(Store, "_took", fails)
                assert await read(store, Cold(place)) is None

            assert told == ["a bug"]
            assert await read(store, Cold(place)) is not None

    asyncio.run(run())


async def read(store: Store, cold: Cold) -> Entry | None:
    """What two requests get that wait for it."""
    first: asyncio.Future[Entry | None] = asyncio.get_running_loop().create_future()
    second: asyncio.Future[Entry | None] = asyncio.get_running_loop().create_future()
    for done in (first, second):
        store.read(cold, entry("a").key, done.set_result)
    assert await second is await first
    return await first
