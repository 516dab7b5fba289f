"""What a supervisor leaves to the program that it becomes: one document in memory, and descriptors that stay open.

The process stays the same, and so do its children. Nothing of the document is believed before it is looked at: a
descriptor that isn't what it should be is an error with its number and its use.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, NamedTuple, NoReturn

from shield.errors import ConfigError
from shield.lifecycle.activation import fault_of
from shield.lifecycle.terms import SPEECH
from shield.signals import hold_back, let_through

VARIABLE = "SHIELD_HANDOVER"
"""Tells the program the process that it must be, and the descriptor of the document: `4711:9`."""


class HandoverError(ConfigError):
    """What was handed over can't be taken."""


class Use(Enum):
    """What a descriptor is for."""

    FILE = "file"
    LISTENER = "listener"  # for TCP
    PEER = "peer"  # a worker's unix socket, for the others
    LINE = "line"  # a connected unix socket


class Held(NamedTuple):
    """A descriptor that stays open, its use, and what it is, for people."""

    descriptor: int
    use: Use
    what: str


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A worker's process. `line` is a descriptor; `received` and `unsent` are its rest, in hexadecimal digits.

    `program` and `tenant`: of which program's number it is, and its share of the directories.
    """

    pid: int
    line: int
    received: str
    unsent: str
    ready_at: float | None
    program: int
    tenant: int


@dataclass(frozen=True, slots=True)
class PostRecord:
    """The process that holds a worker's number, and those that have been replaced and end. `peer` is a descriptor, or
    -1.
    """

    peer: int
    holder: ProcessRecord | None
    retired: tuple[ProcessRecord, ...]

    def processes(self) -> tuple[ProcessRecord, ...]:
        return self.retired if self.holder is None else (self.holder, *self.retired)


@dataclass(frozen=True, slots=True)
class ListenerRecord:
    """Sockets of one address, as the settings name it."""

    key: str
    address: str
    sockets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Handover:
    """`program` is the number of the one that takes over, among all of this node. `words` begin the command by which
    the installed version is started. `version` hands over, and `back` is its command; empty: there is no way back.
    `settings`, pickled, in hexadecimal digits, are for its way back alone. `failed`: why the program in between
    can't go on, where the way back is taken. `askers` asked for the upgrade: processes, and their numbers for it.
    """

    program: int
    version: str
    words: tuple[str, ...]
    back: tuple[str, ...]
    settings: str
    failed: tuple[str, ...]
    generation: int
    memory: int
    lock: int
    private: str
    private_lock: int
    listening: tuple[ListenerRecord, ...]
    posts: tuple[PostRecord, ...]
    askers: tuple[tuple[int, int], ...] = ()
    speech: int = field(default=SPEECH)

    def held(self) -> Iterator[Held]:
        """All descriptors that stay open."""
        yield Held(self.memory, Use.FILE, "the memory of the workers")
        yield Held(self.lock, Use.FILE, "the lock of that memory")
        yield Held(self.private_lock, Use.FILE, "the lock of the private directory")
        for listening in self.listening:
            for descriptor in listening.sockets:
                yield Held(descriptor, Use.LISTENER, f"a listener of {listening.key} {listening.address}")
        for number, post in enumerate(self.posts):
            if post.peer >= 0:
                yield Held(post.peer, Use.PEER, f"the unix socket of worker {number}")
            for running in post.processes():
                yield Held(running.line, Use.LINE, f"the line to worker {number} (pid {running.pid})")

    def check(self) -> None:
        """Raises HandoverError with all that isn't as it should be. Children no longer inherit the descriptors."""
        problems = []
        for descriptor, use, what in self.held():
            try:
                os.set_inheritable(descriptor, False)
                problem = _fault(descriptor, use)
            except OSError as error:
                problem = f"can't be used: {error.strerror}"
            if problem:
                problems.append(f"the handover names descriptor {descriptor} as {what}, but it {problem}")
        for number, post in enumerate(self.posts):
            for running in post.processes():
                if not _is_child(running.pid):
                    problems.append(f"the handover names pid {running.pid} as worker {number}, but it is no child")
        if problems:
            raise HandoverError(problems)


def become(command: Sequence[str], handover: Handover, environ: MutableMapping[str, str]) -> NoReturn:
    """Become another program, which finds the handover. Raises OSError if that can't be started; then all is as
    before.
    """
    document = os.memfd_create("shield-handover", 0)
    try:
        os.write(document, json.dumps(asdict(handover)).encode())
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        hold_back()
        for descriptor, _, _ in handover.held():
            os.set_inheritable(descriptor, True)
        os.execve(command[0], list(command), {**environ, VARIABLE: f"{os.getpid()}:{document}"})
    except BaseException:
        os.close(document)
        for descriptor, _, _ in handover.held():
            os.set_inheritable(descriptor, False)
        let_through()
        raise


def go_back(handover: Handover, problems: Sequence[str], environ: MutableMapping[str, str]) -> None:
    """Become the version that has handed over, because of these problems. Returns if there is no way back, or it
    can't be gone.
    """
    if handover.back:
        with contextlib.suppress(OSError):
            failed = (*handover.failed, *problems)
            become(handover.back, replace(handover, program=handover.program - 1, back=(), failed=failed), environ)


def handed_over(environ: MutableMapping[str, str]) -> Handover | None:
    """What was left to this process, if anything was; the variable is removed. Raises HandoverError."""
    said = environ.pop(VARIABLE, None)
    if said is None:
        return None
    pid, _, descriptor = said.partition(":")
    if pid != str(os.getpid()):
        return None  # meant for another process, whose child this is
    try:
        document = int(descriptor)
        if not stat.S_ISREG(os.fstat(document).st_mode):
            raise ValueError("no file in memory")
        data = os.pread(document, os.fstat(document).st_size, 0)
        os.close(document)
        return unpacked(data)
    except (OSError, ValueError, OverflowError) as error:
        raise HandoverError([f"{VARIABLE}={said}: there is no handover: {error}"]) from None


def unpacked(data: bytes) -> Handover:
    """Raises ValueError."""
    try:
        found = json.loads(data)
        if found.get("speech") != SPEECH:
            raise ValueError(f"it is of version {found.get('speech')}, and this program knows {SPEECH}")
        found["listening"] = tuple(
            ListenerRecord(each["key"], each["address"], tuple(map(_number, each["sockets"])))
            for each in found["listening"]
        )
        found["posts"] = tuple(
            PostRecord(
                _number(each["peer"]),
                None if each["holder"] is None else _process(each["holder"]),
                tuple(map(_process, each["retired"])),
            )
            for each in found["posts"]
        )
        for name in ("words", "back", "failed"):
            found[name] = tuple(map(str, found[name]))
        found["askers"] = tuple((_number(pid), _number(number)) for pid, number in found["askers"])
        for name in ("program", "generation", "memory", "lock", "private_lock"):
            _number(found[name])
        bytes.fromhex(found["settings"])
        return Handover(**found)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it can't be read ({type(error).__name__})") from None


def taken(descriptor: int) -> socket.socket:
    """An object for a socket that was handed over."""
    made = socket.socket(fileno=descriptor)
    made.setblocking(False)
    return made


def _process(found: Any) -> ProcessRecord:
    made = ProcessRecord(**{each.name: found[each.name] for each in fields(ProcessRecord)})
    for number in (made.pid, made.line, made.program, made.tenant):
        _number(number)
    bytes.fromhex(made.received), bytes.fromhex(made.unsent)
    return made


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _fault(descriptor: int, use: Use) -> str:
    """Why a descriptor isn't for this use; empty if it is."""
    if use is Use.LISTENER:
        return fault_of(descriptor)
    mode = os.fstat(descriptor).st_mode
    if use is Use.FILE:
        return "" if stat.S_ISREG(mode) else "is no file"
    if not stat.S_ISSOCK(mode):
        return "is no socket"
    looked_at = socket.socket(fileno=descriptor)
    try:
        if looked_at.family != socket.AF_UNIX or looked_at.type != socket.SOCK_STREAM:
            return "is a socket of another kind"
        listens = bool(looked_at.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        return "" if listens is (use is Use.PEER) else "is a unix socket for another use"
    finally:
        looked_at.detach()


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return True
