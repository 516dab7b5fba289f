"""The kernel's room for what an origin sends, on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shield.origin.inflow import _SO_BUF_LOCK, FIRST, LAST, Inflow, inflow_of, read_buffer
from shield.origin.pool import Pool
from tests.origin.leg import LoopFactory, Origin, Visit, endpoint, get, on_both_loops, run, until


@pytest.fixture
def connected() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as made:
        yield made


def room(connected: socket.socket) -> int:
    return connected.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel counts its overhead


def is_fixed(connected: socket.socket) -> bool:
    return bool(connected.getsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK))


def test_the_room_at_a_new_connection_is_small(connected: socket.socket) -> None:
    assert isinstance(inflow_of(connected), Inflow)
    assert room(connected) == FIRST
    assert is_fixed(connected)


def test_it_grows_with_what_has_come_and_is_never_more(connected: socket.socket) -> None:
    inflow, came, rooms = Inflow(connected), 10_000, [FIRST]

    while came < inflow.due or inflow.came(came):
        came += 10_000
        rooms.append(room(connected))
        assert came / 4 < rooms[-1] <= max(FIRST, came)

    assert LAST <= came < LAST + 10_000
    assert rooms == sorted(rooms)
    assert rooms[-1] == LAST // 2


def test_a_large_piece_makes_as_much_room_as_many_small_ones(connected: socket.socket) -> None:
    assert Inflow(connected).came(8 * FIRST)
    assert room(connected) == 8 * FIRST


def test_in_the_end_it_is_left_to_the_kernel(connected: socket.socket) -> None:
    assert not Inflow(connected).came(LAST)
    assert not is_fixed(connected)
    assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP) > LAST


def test_other_sockets_and_closed_ones_are_left_alone() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert inflow_of(here) is None
    assert inflow_of(None) is None
    closed = socket.socket()
    closed.close()
    assert not Inflow(closed).came(LAST)


@on_both_loops
def test_a_connection_begins_with_little_room_and_has_it_widened_as_it_reads(new_loop: LoopFactory) -> None:
    async def large(visit: Visit) -> None:
        while await visit.asked():
            await visit.says(b"HTTP/1.1 200 OK\r\ncontent-length: 4000000\r\n\r\n", bytes(4_000_000))

    async def scenario() -> None:
        async with Origin(large) as origin:
            pool = Pool(endpoint(origin.port))
            response = await get(pool)
            (connection,) = pool._connections
            connected = connection._transport.get_extra_info("socket")
            await until(lambda: response.unread() > 100_000)  # as much as a response takes before it is started
            unread = response.unread()
            before = room(connected)
            await response.read(1 << 30)
            after = is_fixed(connected)
            await pool.close()

        assert unread < 1_000_000
        assert before <= 4 * FIRST
        assert not after

    run(new_loop, scenario)


@on_both_loops
def test_what_waits_in_the_kernel_is_known_until_the_response_is_closed(new_loop: LoopFactory) -> None:
    async def large(visit: Visit) -> None:
        await visit.asked()
        await visit.says(b"HTTP/1.1 200 OK\r\ncontent-length: 4000000\r\n\r\n", bytes(4_000_000))

    async def scenario() -> None:
        async with Origin(large) as origin:
            pool = Pool(endpoint(origin.port))
            response = await get(pool)
            response.pause()
            await until(lambda: sum(map(len, response._buffer or ())) < response.unread())
            response.close()
            assert response.unread() == 0
            await pool.close()

    run(new_loop, scenario)


def test_connections_of_one_thread_read_to_one_place_and_those_of_others_elsewhere() -> None:
    with ThreadPoolExecutor(1) as other:
        elsewhere = other.submit(read_buffer).result()

    assert read_buffer() is read_buffer()
    assert elsewhere is not read_buffer()
