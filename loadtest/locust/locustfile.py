"""Users for locust. Alone: `python -m loadtest.locust`. On several machines: loadtest/README.md.

LOAD_SCENARIO names the scenario, LOAD_SECONDS its length, LOAD_USERS how many users there are, LOAD_RATE the requests
a second of each; LOAD_RECORDS is the file for what they noted, LOAD_ADMIN the admin listener (scenario purge).

Locust's own constant_throughput lets a user that was held up go on from there: the requests that it would have sent
meanwhile are left out, with the waits they would have had (coordinated omission). Here each user has a schedule that
doesn't move. What is late is sent at once, and its time counts from when it should have been sent.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

import gevent
from gevent import socket
from geventhttpclient.response import HTTPConnectionClosed

from loadtest.client import HEADERS
from loadtest.locust.records import BROKEN, REFUSED, STALE, STATUS, WRONG, Record, Run
from loadtest.locust.scenarios import ORIGINAL_BYTES, SCENARIOS, VIDEO_BYTES
from loadtest.origin import body
from locust import FastHttpUser, LoadTestShape, User, events, task

SCENARIO = SCENARIOS[os.environ.get("LOAD_SCENARIO", "zipf")]
SECONDS = float(os.environ.get("LOAD_SECONDS", "30"))
USERS = int(os.environ.get("LOAD_USERS", "20"))
RATE = float(os.environ.get("LOAD_RATE", "10"))
RECORDS = os.environ.get("LOAD_RECORDS", "")
ADMIN = os.environ.get("LOAD_ADMIN", "")

OBJECTS = 2000
SLOW_CLIENTS = 200
SAMPLE = 5  # of so many bodies, one's digest is compared; lengths are in any case
TIMEOUT = 30.0
_FIELDS = {name: value for name, value in HEADERS.items() if name != "Host"}
_WEIGHTS = [1.0 / rank for rank in range(1, OBJECTS + 1)]  # Zipf, exponent 1
_CUMULATED = [sum(_WEIGHTS[: at + 1]) for at in range(OBJECTS)]

_run = Run(SCENARIO.name)
_digests: dict[int, bytes] = {}


def object_path(rank: int) -> tuple[str, int]:
    """An object by its rank: of ten, nine are thumbnails. Sizes are few, so that the origin keeps their bodies."""
    size = ORIGINAL_BYTES if rank % 10 == 9 else 8_000 + rank % 20 * 2_500
    return f"/o/{size}/{rank}", size


class _User(FastHttpUser):
    """Keeps a schedule, and notes what it gets."""

    abstract = True
    network_timeout = TIMEOUT
    connection_timeout = TIMEOUT
    max_retries = 0
    _due = 0.0

    def on_start(self) -> None:
        self._due = time.time() + random.random() / RATE

    def wait_time(self) -> float:
        return max(0.0, self._due - time.time())

    def _begin(self) -> tuple[float, float]:
        """When the schedule wanted this request to start, and now."""
        intended, self._due = self._due, self._due + 1.0 / RATE
        return intended, time.time()

    def _get(
        self, path: str, size: int, *, name: str, first: int = 0, whole: bool = True, forbid_hit: bool = False
    ) -> None:
        intended, started = self._begin()
        fields = _FIELDS if whole else {**_FIELDS, "Range": f"bytes={first}-{first + size - 1}"}
        fault, told, got, hit = "", "", 0, False
        with self.client.get(path, headers=fields, name=name, catch_response=True) as answer:
            content = answer.content or b""
            ended, got = time.time(), len(content)
            hit = "; hit" in (answer.headers.get("cache-status") or "" if answer.headers else "")
            expected = 200 if whole else 206
            if answer.status_code == 0:
                fault, told = _fault_of(answer.error)
            elif answer.status_code != expected:
                fault, told = STATUS, f"{answer.status_code} for {path}"
            elif got != size:
                fault, told = BROKEN, f"{got} bytes of {size} for {path}"
            elif not self._is_right(content, first, size, whole):
                fault, told = WRONG, f"other bytes for {path} from {first}"
            elif forbid_hit and hit:
                fault, told = STALE, f"a hit for {path} right after it was purged"
            if fault:
                answer.failure(f"{fault}: {told}")
            else:
                answer.success()
        _run.records.append(Record(name, intended, started, ended, got, hit, path, fault, told))

    def _is_right(self, content: bytes, first: int, size: int, whole: bool) -> bool:
        if not whole:
            return content == body(VIDEO_BYTES)[first : first + size]
        if len(_run.records) % SAMPLE:
            return True
        if size not in _digests:
            _digests[size] = hashlib.blake2b(body(size)).digest()
        return hashlib.blake2b(content).digest() == _digests[size]


def _fault_of(error: Any) -> tuple[str, str]:
    """Whether nobody listened or an answer broke off. A connection that is closed before an answer is no break."""
    told = f"{type(error).__name__}: {error}"
    return (REFUSED if isinstance(error, (ConnectionError, HTTPConnectionClosed)) else BROKEN), told


class Visitor(_User):
    """One edge of a CDN, whose misses are what comes here."""

    @task
    def look(self) -> None:
        (rank,) = random.choices(range(OBJECTS), cum_weights=_CUMULATED)
        path, size = object_path(rank)
        self._get(path, size, name="original" if size == ORIGINAL_BYTES else "thumbnail")


class Crowd(_User):
    """Wants an object that takes a second to begin and another to come."""

    @task
    def want(self) -> None:
        turn = int(self._due / 5.0)  # a new object every five seconds, the same for all
        self._get(f"/slow/1000000/1000/1000/{turn}", 1_000_000, name="cold object")


class Viewer(_User):
    @task
    def jump(self) -> None:
        size = random.choice((65_536, 262_144, 1_000_000))
        first = random.randrange(VIDEO_BYTES - size)
        self._get(f"/o/{VIDEO_BYTES}/video", size, name="range", first=first, whole=False)


class Purger(_User):
    """Purges an object of its own in turn with requests for it, and requests others."""

    def on_start(self) -> None:
        super().on_start()
        self._own = f"/o/20000/own-{id(self)}"
        self._turn = 0

    @task
    def purge_and_look(self) -> None:
        self._turn += 1
        if self._turn % 3 == 1:
            self._purge()
        elif self._turn % 3 == 2:
            self._get(self._own, 20_000, name="after a purge", forbid_hit=True)
        else:
            path, size = object_path(random.randrange(20) * 10)
            self._get(path, size, name="thumbnail")

    def _purge(self) -> None:
        intended, started = self._begin()
        fault, told = "", ""
        paths = [self._own, object_path(random.randrange(20) * 10)[0]]
        with self.client.post(
            f"{ADMIN}/store/remove", json={"paths": paths}, name="purge", catch_response=True
        ) as answer:
            ended = time.time()
            if answer.status_code != 200:
                fault, told = STATUS, f"{answer.status_code} for a purge: {answer.text}"
                answer.failure(told)
            else:
                answer.success()
        _run.records.append(Record("purge", intended, started, ended, 0, False, "", fault, told))


class Shape(LoadTestShape):
    """The scenario's number of users, and its end."""

    def tick(self) -> tuple[int, float, list[type[User]] | None] | None:
        users = SCENARIO.users_at(self.get_run_time(), users=USERS, seconds=SECONDS)
        return None if users is None else (users, float(max(users, 1)), [globals()[SCENARIO.users]])


def _read_slowly(host: str, port: int) -> None:
    """One connection after another that takes a kilobyte a second of an original."""
    _run.slow_clients += 1
    while True:
        try:
            with socket.create_connection((host, port), TIMEOUT) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(f"GET {object_path(9)[0]} HTTP/1.1\r\nHost: images.example.com\r\n\r\n".encode())
                while connection.recv(1024):
                    gevent.sleep(1.0)
        except OSError:
            gevent.sleep(1.0)


@events.test_start.add_listener
def _on_start(environment: Any, **_: Any) -> None:
    if SCENARIO.name == "slow" and not _is_master(environment):
        host, _, port = environment.host.removeprefix("http://").partition(":")
        for _number in range(SLOW_CLIENTS):
            gevent.spawn(_read_slowly, host, int(port or 80))


@events.report_to_master.add_listener
def _on_report(client_id: str, data: dict[str, Any]) -> None:
    """Hand the master what was noted since the last report."""
    noted, _run.records = _run.records, []
    data["noted"] = [astuple(record) for record in noted]
    data["slow"] = _run.slow_clients


@events.worker_report.add_listener
def _on_worker_report(client_id: str, data: dict[str, Any]) -> None:
    _run.records += [Record(*noted) for noted in data.get("noted", ())]
    _run.slow_clients = max(_run.slow_clients, data.get("slow", 0))


@events.quitting.add_listener
def _on_end(environment: Any, **_: Any) -> None:
    """The local runner or the master writes what was noted; whether it is good enough is judged from there."""
    if RECORDS and not _is_worker(environment):
        _run.save(Path(RECORDS))


def _is_master(environment: Any) -> bool:
    return type(environment.runner).__name__ == "MasterRunner"


def _is_worker(environment: Any) -> bool:
    return type(environment.runner).__name__ == "WorkerRunner"
