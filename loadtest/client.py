"""Clients: wrk for rates, and a crowd of our own that asks for one object together and checks every byte of it."""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

# What a CDN's edge sends to its shield for a picture.
HEADERS = {
    "Host": "images.example.com",
    "User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1",
    "Accept": "image/avif,image/webp,image/apng,image/*,*/*;q=0.8",
    "Accept-Encoding": "gzip, br",
    "Accept-Language": "de-DE,de;q=0.9,en;q=0.8",
    "Referer": "https://www.example.com/gallery/2024/summer",
    "X-Forwarded-For": "203.0.113.57, 198.51.100.12",
    "X-Forwarded-Proto": "https",
    "X-Request-Id": "5f2b9c41-7a0e-4d0c-9a45-0b7c5a1d3e9f",
    "Via": "2.0 edge-fra-12 (cdn)",
    "CDN-Loop": "cdn; count=1",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}
READ = 262_144
FIRST_READ = 4096
LOOK_SECONDS = 0.001  # between two looks for first bytes
RECEIVE_BUFFER = 131_072
SO_TIMESTAMPNS = 35  # Linux; Python's `socket` has no name for it
_STAMP = struct.Struct("@qq")  # seconds, nanoseconds

_LUA = """
local counter = 0
local threads = 0
function setup(thread) thread:set("id", threads) threads = threads + 1 end
%(fields)s
%(request)s
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %%d %%d %%d %%d\\n", summary.requests, e.status,
    e.connect + e.read + e.write + e.timeout, latency:percentile(99)))
end
"""
_UNIQUE = """
function request()
  counter = counter + 1
  return wrk.format("GET", wrk.path .. "-" .. id .. "-" .. counter)
end
"""
_ANY = """
local requests = {}
function init(arguments)
  for path in io.lines(arguments[1]) do requests[#requests + 1] = wrk.format("GET", path) end
  math.randomseed(tonumber(arguments[2]))
end
function request() return requests[math.random(#requests)] end
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """What wrk saw: answers, answers that weren't 2xx or 3xx, socket errors, 99th percentile of latency in us."""

    requests: int
    refused: int
    broken: int
    p99: int


class Wrk:
    """Runs wrk on a core, one thread, with a CDN's request headers."""

    def __init__(self, directory: Path, *, core: int | str, connections: int) -> None:
        self._core = core
        self._connections = connections
        fields = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in HEADERS.items())
        self._scripts = {}
        self._runs = 0
        for name, request in (("same", ""), ("unique", _UNIQUE), ("any", _ANY)):
            path = directory / f"wrk-{name}.lua"
            path.write_text(_LUA % {"fields": fields, "request": request})
            self._scripts[name] = str(path)

    def run(self, url: str, seconds: float, *, unique: bool) -> Rate:
        """Ask for a URL again and again; `unique` adds a number to it that differs with each request."""
        return self._run(url, seconds, "unique" if unique else "same")

    def run_any(self, url: str, paths: Path, seconds: float) -> Rate:
        """Ask for one of the paths that a file lists, at random, again and again."""
        self._runs += 1
        return self._run(url, seconds, "any", "--", str(paths), str(self._runs))

    def _run(self, url: str, seconds: float, script: str, *arguments: str) -> Rate:
        command = ["taskset", "-c", str(self._core), "wrk", "-t1", f"-c{self._connections}"]
        command += [f"-d{round(seconds)}s", "--timeout", "10s", "-s", self._scripts[script], url, *arguments]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in said.stdout.splitlines():
            if line.startswith("RESULT "):
                return Rate(*(int(word) for word in line.split()[1:]))
        raise RuntimeError(f"wrk gave no result for {url}: {said.stdout}{said.stderr}")


@dataclass(slots=True)
class Member:
    """One client of a crowd: a socket, what has come, and when."""

    socket: socket.socket
    head: bytes | None = b""  # None once it has been read
    expected: int = -1
    got: int = 0
    first: float = 0.0
    last: float = 0.0
    fault: str = ""
    digest: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)

    def take(self, data: memoryview, now: float, arrived: float) -> None:
        """`arrived`: when the first bytes did; they are read later."""
        if not self.first:
            self.first = arrived
        if self.head is not None:
            self.head += bytes(data)
            at = self.head.find(b"\r\n\r\n")
            if at < 0:
                return
            data = memoryview(self.head)[at + 4 :]
            self._read_head(self.head[:at])
            self.head = None
        self.got += len(data)
        self.digest.update(data)
        if self.got >= self.expected:
            self.last = now

    def _read_head(self, head: bytes) -> None:
        status, *lines = head.split(b"\r\n")
        lengths = [line.partition(b":")[2] for line in lines if line.lower().startswith(b"content-length:")]
        self.expected = int(lengths[0]) if lengths else 0
        if status.split()[1:2] != [b"200"] or not lengths:
            self.fault = f"{status.decode()}, Content-Length {self.expected}"

    def judge(self, body: bytes, digest: bytes) -> str:
        """What is wrong with its answer; nothing if it got the whole object and nothing else."""
        if self.fault:
            return self.fault
        if not self.last:
            return f"ended early, {self.got} of {self.expected} bytes"
        if self.got != len(body) or self.digest.digest() != digest:
            return f"wrong bytes, {self.got} of {len(body)}"
        return ""


@dataclass(frozen=True, slots=True)
class Crowd:
    """One answer to each of many, in seconds: the leader's first byte after its own request, the followers' after
    the leader's, and each one's last byte after the leader's request."""

    leader: float
    followers: list[float]
    lasts: list[float]
    faults: list[str]


def crowd(port: int, path: str, body: bytes, *, clients: int, led: Callable[[], bool], patience: float) -> Crowd:
    """One client asks; once `led` says that its request has come to the origin, all the others ask together."""
    ask = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items()) + "\r\n"
    members = [Member(_connected(port)) for _ in range(clients)]
    try:
        began = time.monotonic()
        members[0].socket.send(ask.encode())
        while not led():
            if time.monotonic() > began + 5:
                raise RuntimeError("the leader's request hasn't come to the origin")
            time.sleep(0.01)
        for member in members[1:]:
            member.socket.send(ask.encode())
        _read(members, began + patience)
    finally:
        for member in members:
            member.socket.close()
    digest = xxhash.xxh3_128(body).digest()
    first = members[0].first
    return Crowd(
        leader=first - began,
        followers=[member.first - first for member in members[1:] if member.first],
        lasts=[member.last - began for member in members if member.last],
        faults=[fault for member in members if (fault := member.judge(body, digest))],
    )


def _connected(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    made.connect(("127.0.0.1", port))
    made.setblocking(False)
    return made


def _read(members: list[Member], end: float) -> None:
    """Read until all have ended. Those that have least come first, and while some have nothing all the others
    together get little time, so that a first byte's time is not that of our reading."""
    waiting = {member.socket.fileno(): member for member in members}
    buffer = memoryview(bytearray(READ))
    poll = select.epoll()
    for number in waiting:
        poll.register(number, select.EPOLLIN)
    hungry = len(members)
    while waiting and (now := time.monotonic()) < end:
        ready = [waiting[number] for number, _ in poll.poll(end - now, len(members))]
        ready.sort(key=lambda member: member.got)
        pause = time.monotonic() + LOOK_SECONDS
        for member in ready:
            if member.first and hungry and now > pause:
                break
            into = buffer if member.first else buffer[:FIRST_READ]
            count, arrived = _receive(member, into)
            now = time.monotonic()
            hungry -= not member.first
            if count:
                member.take(into[:count], now, arrived)
            if not count or member.last or member.fault:
                number = member.socket.fileno()
                poll.unregister(number)
                del waiting[number]
    poll.close()


def _receive(member: Member, into: memoryview) -> tuple[int, float]:
    """Bytes received; of the first ones also when they came to the kernel, by the monotonic clock: reading those of
    a thousand clients may take us longer than a server to send them.
    """
    try:
        if member.first:
            return member.socket.recv_into(into), 0.0
        count, ancillary, _, _ = member.socket.recvmsg_into([into], socket.CMSG_SPACE(_STAMP.size))
    except OSError as error:
        member.fault = str(error)
        return 0, 0.0
    now, ago = time.monotonic(), 0.0
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = _STAMP.unpack(data[: _STAMP.size])
            ago = max(0.0, time.time() - (seconds + nanoseconds / 1e9))
    return count, now - ago
