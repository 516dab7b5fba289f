"""The life of a node's services, with a node of nothing else."""

from __future__ import annotations

import asyncio
import logging

import pytest

from shield.errors import ConfigError
from shield.node import CallbackService, Services


class Recorded:
    """A service that writes down what is done to it, and fails at what it is told to."""

    def __init__(self, name: str, log: list[str], *, fails: str = "", error: Exception | None = None) -> None:
        self.name = name
        self._log = log
        self._fails = fails
        self._error = error or OSError("no")

    async def open(self) -> None:
        self._do("open")

    def tick(self) -> None:
        self._do("tick")

    async def close(self) -> None:
        self._do("close")

    def _do(self, what: str) -> None:
        self._log.append(f"{what} {self.name}")
        if what == self._fails:
            raise self._error


def test_services_are_opened_in_order_and_closed_in_reverse() -> None:
    log: list[str] = []
    services = Services(Recorded("a", log), Recorded("b", log))

    async def live() -> bool:
        await services.open()
        services.tick()
        return await services.close()

    assert asyncio.run(live())
    assert log == ["open a", "open b", "tick a", "tick b", "close b", "close a"]


def test_a_service_that_cannot_be_closed_does_not_keep_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    services = Services(Recorded("a", log), Recorded("b", log, fails="close"), Recorded("c", log))

    with caplog.at_level(logging.ERROR):
        closed = asyncio.run(services.close())

    assert not closed
    assert log == ["close c", "close b", "close a"]
    assert "b can't be closed" in caplog.text


def test_when_a_service_cannot_be_opened_those_before_it_are_closed() -> None:
    log: list[str] = []
    error = ConfigError(["no"])
    services = Services(
        Recorded("a", log), Recorded("b", log), Recorded("c", log, fails="open", error=error), Recorded("d", log)
    )

    with pytest.raises(ConfigError):
        asyncio.run(services.open())

    assert log == ["open a", "open b", "open c", "close b", "close a"]


def test_a_part_is_a_service_out_of_the_calls_that_it_is_given() -> None:
    log: list[str] = []

    async def close() -> None:
        log.append("close")

    async def live() -> None:
        for part in (
            CallbackService(
                "a", opening=lambda: log.append("open"), ticking=lambda: log.append("tick"), closing=close
            ),
            CallbackService("b"),
        ):
            await part.open()
            part.tick()
            await part.close()

    asyncio.run(live())

    assert log == ["open", "tick", "close"]
