"""What one program leaves to another: it arrives whole, and nothing of it is believed unseen."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.lifecycle.handover import (
    VARIABLE,
    Handover,
    HandoverError,
    ListenerRecord,
    PostRecord,
    ProcessRecord,
    handed_over,
    unpacked,
)


@pytest.fixture
def left() -> Iterator[Handover]:
    """A handover in order, of one worker whose process runs."""
    with ExitStack() as stack:
        memory, lock = os.memfd_create("a"), os.memfd_create("b")
        private = os.memfd_create("c")
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        peer = stack.enter_context(socket.socket(socket.AF_UNIX))
        peer.bind(f"\0shield-handover-{os.getpid()}")
        peer.listen()
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        stack.enter_context(theirs)
        pid = os.fork()
        if pid == 0:
            signal.pause()
        yield Handover(
            program=2,
            version="1.0",
            words=("/opt/shield",),
            back=("/opt/1.0/shield",),
            settings="00",
            failed=(),
            generation=3,
            memory=memory,
            lock=lock,
            private="/run/shield-x",
            private_lock=private,
            listening=(ListenerRecord("listen", "127.0.0.1:80", (listener.fileno(),)),),
            posts=(PostRecord(peer.fileno(), ProcessRecord(pid, ours.fileno(), "", "ff", 1.5, 1, 0), ()),),
            askers=((pid, 4),),
        )
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for descriptor in (memory, lock, private):
            os.close(descriptor)


def test_what_is_left_arrives_whole(left: Handover) -> None:
    assert unpacked(json.dumps(asdict(left)).encode()) == left


def test_a_handover_in_order_is_taken_and_children_do_not_inherit_it(left: Handover) -> None:
    for descriptor, _, _ in left.held():
        os.set_inheritable(descriptor, True)

    left.check()

    assert not any(os.get_inheritable(descriptor) for descriptor, _, _ in left.held())


def test_descriptors_that_are_not_what_they_should_be_are_named(left: Handover) -> None:
    memory, listener = left.memory, left.listening[0].sockets[0]
    peer, holder = left.posts[0].peer, left.posts[0].holder
    assert holder is not None
    cases = [
        (replace(left, memory=listener), f"descriptor {listener} as the memory of the workers, but it is no file"),
        (replace(left, lock=9999), "descriptor 9999 as the lock of that memory, but it can't be used: Bad file"),
        (
            replace(left, listening=(ListenerRecord("listen", "127.0.0.1:80", (memory,)),)),
            f"descriptor {memory} as a listener of listen 127.0.0.1:80, but it is no socket",
        ),
        (
            replace(left, posts=(PostRecord(holder.line, holder, ()),)),
            f"descriptor {holder.line} as the unix socket of worker 0, but it is a unix socket for another use",
        ),
        (
            replace(left, posts=(PostRecord(peer, replace(holder, line=listener), ()),)),
            f"descriptor {listener} as the line to worker 0 (pid {holder.pid}), but it is a socket of another kind",
        ),
        (
            replace(left, posts=(PostRecord(peer, replace(holder, pid=os.getpid()), ()),)),
            f"pid {os.getpid()} as worker 0, but it is no child",
        ),
    ]

    for wrong, said in cases:
        with pytest.raises(HandoverError) as raised:
            wrong.check()
        assert any(said in problem for problem in raised.value.problems), (said, raised.value.problems)


def test_without_the_variable_or_with_that_of_another_process_nothing_is_handed_over() -> None:
    environ = {VARIABLE: f"{os.getpid() + 1}:3", "OTHER": "stays"}

    assert handed_over({}) is None
    assert handed_over(environ) is None
    assert environ == {"OTHER": "stays"}


def test_the_document_is_found_by_the_variable_and_closed(left: Handover) -> None:
    document = os.memfd_create("document")
    os.write(document, json.dumps(asdict(left)).encode())

    assert handed_over({VARIABLE: f"{os.getpid()}:{document}"}) == left
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(document)


@pytest.mark.parametrize("what", ["9999", "", "x", "-1", str(1 << 70)])
def test_a_descriptor_that_is_none_is_an_error(what: str) -> None:
    with pytest.raises(HandoverError, match=f"{VARIABLE}={os.getpid()}:{what}: there is no handover"):
        handed_over({VARIABLE: f"{os.getpid()}:{what}"})


def test_a_file_that_is_no_handover_is_an_error() -> None:
    for data, said in ((b"nonsense", "there is no handover"), (b'{"speech": 99}', "it is of version 99")):
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            copy = os.dup(file.fileno())
            with pytest.raises(HandoverError, match=said):
                handed_over({VARIABLE: f"{os.getpid()}:{copy}"})
            with suppress(OSError):
                os.close(copy)


@given(st.data())
def test_a_document_with_a_part_missing_or_of_another_kind_is_refused(data: st.DataObject) -> None:
    whole = {
        "program": 2, "version": "1.0", "words": [], "back": [], "settings": "", "failed": [], "generation": 1,
        "memory": 3, "lock": 4, "private": "/x", "private_lock": 5, "listening": [], "posts": [], "askers": [],
        "speech": 1,
    }  # fmt: skip
    assert unpacked(json.dumps(whole).encode()).memory == 3
    number = data.draw(st.sampled_from(["program", "generation", "memory", "lock", "private_lock"]))
    wrong = data.draw(st.none() | st.text(max_size=3) | st.lists(st.integers(), max_size=2) | st.floats(0, 1))

    for broken in ({**whole, number: wrong}, {key: value for key, value in whole.items() if key != number}):
        with pytest.raises(ValueError, match="it can't be read"):
            unpacked(json.dumps(broken).encode())
