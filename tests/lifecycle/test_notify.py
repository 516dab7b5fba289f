"""What a service manager hears: plain datagrams, each news once, and never at the node's expense."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shield.lifecycle.notify import Notifier
from tests.lifecycle.manager import Manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path / "notify") as made:
        yield made


def test_news_is_told_line_by_line_in_its_order(manager: Manager, tmp_path: Path) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "notify")}, 7)

    notifier.ready("serves")
    notifier.reloading("reads", 12.5)
    notifier.status("thinks")
    notifier.stopping("ends")
    notifier.close()

    assert manager.heard() == [
        "READY=1\nSTATUS=serves",
        "RELOADING=1\nMONOTONIC_USEC=12500000\nSTATUS=reads",
        "STATUS=thinks",
        "STOPPING=1\nSTATUS=ends",
    ]


def test_a_manager_with_an_abstract_address_hears_the_same() -> None:
    with Manager(f"@shield-test-{os.getpid()}") as manager:
        notifier = Notifier(manager.address)
        notifier.ready("serves")
        notifier.close()

        assert manager.heard() == ["READY=1\nSTATUS=serves"]


@pytest.mark.parametrize("address", [None, "/nowhere/at/all", "vsock:2:1234", ""])
def test_where_nobody_listens_nothing_happens(address: str | None) -> None:
    environ = {} if address is None else {"NOTIFY_SOCKET": address}
    notifier = Notifier.of({**environ, "WATCHDOG_USEC": "1000"}, 7)

    notifier.ready("serves")
    notifier.beat(1.0)
    notifier.keep("a", [0])
    notifier.close()


def test_a_watchdog_is_told_at_half_of_its_time(manager: Manager, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}
    notifier = Notifier.of(environ, 7)
    assert notifier.due == 0.0

    for now in (100.0, 105.0, 109.9, 110.0, 111.0, 125.0):
        notifier.beat(now)

    assert manager.heard() == ["WATCHDOG=1"] * 3  # at 100, 110 and 125
    assert notifier.due == 135.0
    notifier.close()


@pytest.mark.parametrize(
    "environ",
    [{"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "8"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}, {}],
)
def test_a_watchdog_of_another_process_or_of_no_time_is_none(
    manager: Manager, tmp_path: Path, environ: dict[str, str]
) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environ}, 7)

    notifier.beat(100.0)

    assert notifier.due is None
    assert manager.heard() == []
    notifier.close()


def test_news_that_cannot_be_told_at_once_comes_later_and_in_order(manager: Manager, tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "notify"), watchdog_seconds=20.0)
    notifier.beat(100.0)
    for number in range(50):  # more than wait in a socket's queue
        notifier.status(str(number))

    heard = manager.heard()
    while before := len(heard):
        notifier.beat(101.0)
        heard += manager.heard()
        if len(heard) == before:
            break

    assert heard == ["WATCHDOG=1", *[f"STATUS={number}" for number in range(50)]]
    notifier.close()


def test_descriptors_are_handed_over_with_their_name(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        notifier.keep("of shield", [one.fileno(), other.fileno()])
        notifier.forget("of shield")

        assert manager.heard() == ["FDSTORE=1\nFDNAME=of shield", "FDSTOREREMOVE=1\nFDNAME=of shield"]
        held = manager.held["of shield"]
        assert [each.getsockname() for each in held] == [one.getsockname(), other.getsockname()]
    notifier.close()
