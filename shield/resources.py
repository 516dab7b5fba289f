"""A node's resources besides its processes: shared memory, listeners, the private directory, and workers' sockets.

They are made at the start, taken over from the version before, or, as for listeners, passed by the service manager.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shield.alarms.memory import load as load_alarms
from shield.config.admin import UNIX, UnixAddress
from shield.config.settings import Settings
from shield.errors import ConfigError
from shield.lifecycle import activation
from shield.lifecycle.activation import Stock, shared_out, stored_name
from shield.lifecycle.handover import Handover, HandoverError, taken
from shield.lifecycle.listening import ADMIN, CLUSTER, Open, addresses_of, listen_on, opened, unlink
from shield.lifecycle.notify import Notifier
from shield.origin.drains import load
from shield.origin.ramps import load as load_ramps
from shield.private import Private, private_directory, socket_path
from shield.shared import Kept, Seat, Shared
from shield.sole import alone, lock_of
from shield.worker import Sockets

log = logging.getLogger("shield.resources")


@dataclass(frozen=True, slots=True)
class Resources:
    """`peers` are the unix sockets by worker; a single worker has none."""

    workers: int
    shared: Shared
    listening: Sequence[Open]
    private: Private
    peers: Sequence[socket.socket]
    state: Path | None = None

    @property
    def clients(self) -> list[Open]:
        return [each for each in self.listening if each.key not in (ADMIN, CLUSTER)]

    @property
    def admin(self) -> list[socket.socket]:
        return [listener for each in self.listening if each.key == ADMIN for listener in each.sockets]

    @property
    def nodes(self) -> list[socket.socket]:
        """Those for other nodes of the cluster, by worker."""
        return [listener for each in self.listening if each.key == CLUSTER for listener in each.sockets]

    def places(self) -> list[tuple[Seat, Sockets]]:
        """Of each worker."""
        paths = tuple(str(socket_path(self.private.path, number)) for number in range(len(self.peers)))
        shares = [shared_out(each.sockets, self.workers) for each in self.clients]
        return [
            (
                Seat(number, self.workers, self.shared, paths, state=self.state, private=self.private.path),
                Sockets(
                    [listener for share in shares for listener in share[number]],
                    () if number else self.admin,
                    self.peers[number : number + 1],
                    self.nodes[number : number + 1],
                ),
            )
            for number in range(self.workers)
        ]


def open_resources(
    stack: contextlib.ExitStack, settings: Settings, *, slots: int, inherited: Handover | None, notifier: Notifier
) -> Resources:
    """Closed by the stack. Raises ConfigError; then all that was handed over is open still."""
    workers = settings.workers
    state = state_directory(settings)
    if inherited is None:
        # First, while no other descriptor can be taken for one of the manager's.
        listening = _fresh(settings, notifier)
        shared = Shared(workers=workers, slots=slots, several=True)
        _restore_drains(shared, state)
        _restore_ramps(shared, state)
        _restore_alarms(shared, state, settings.node)
    else:
        inherited.check()
        if len(inherited.posts) != workers:
            raise HandoverError([f"workers: {len(inherited.posts)} are running, and the settings want {workers}"])
        shared = _shared_before(workers, inherited)
        listening = _taken_over(settings, inherited, notifier)
    for each in listening:
        if isinstance(each.address, UnixAddress) and not notifier.is_heard:  # a manager may keep the socket
            stack.callback(unlink, each.address.path)
        for listener in each.sockets:
            stack.callback(listener.close)
    stack.callback(shared.close)
    stack.enter_context(alone(_locks(settings, state), settings.node, is_running=inherited is not None))
    kept = None if inherited is None else Private(Path(inherited.private), inherited.private_lock)
    private = stack.enter_context(private_directory(kept))
    peers: list[socket.socket] = []
    for number in range(workers if workers > 1 else 0):
        peers.append(
            listen_on(str(socket_path(private.path, number)))
            if inherited is None
            else taken(inherited.posts[number].peer)
        )
        stack.callback(peers[-1].close)
    return Resources(workers, shared, listening, private, peers, state)


def _locks(settings: Settings, state: Path | None) -> list[Path]:
    """Of the files that must be this node's alone: those in the state directory, and a ledger elsewhere."""
    ledger = settings.ledger.path
    locks = [] if state is None else [lock_of(state, settings.node)]
    return locks if ledger in (None, "off") else [*locks, Path(f"{ledger}.lock")]


def state_directory(settings: Settings) -> Path | None:
    """The directory for persistent records, created if missing; None: there is none. Raises ConfigError."""
    named = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    path = settings.state_directory or (Path(named) if named else None)
    if path is None:
        return None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"state_directory: {path}: can't be made: {error.strerror}"]) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError([f"state_directory: {path}: this user can't write there"])
    return path


def _restore_drains(shared: Shared, directory: Path | None) -> None:
    """Drain the origins that were drained when the node was stopped."""
    if directory is None:
        return
    drains, problem = load(directory, time.time())
    if problem is not None:
        log.warning("%s: all origins are in use", problem)
    for name, until in drains.items():
        shared.records.drain(name.encode(), until)
        log.warning("origin %s: drained since before the start; `shield origin restore %s` ends it", name, name)


def _restore_ramps(shared: Shared, directory: Path | None) -> None:
    """Go on with the ramps that were under way when the node was stopped."""
    if directory is None:
        return
    ramps, problem = load_ramps(directory)
    if problem is not None:
        log.warning("%s: all origins may serve all keys", problem)
    for name, ramp in ramps.items():
        shared.records.ramp_of(name.encode()).store(ramp)
        if ramp.share < 1.0:
            log.warning("origin %s: its ramp is %s, at %.0f%% of the keys", name, ramp.status.value, 100 * ramp.share)


def _restore_alarms(shared: Shared, directory: Path | None, node: str) -> None:
    """Go on with the alarms that lasted when the node was stopped, and messages that weren't sent."""
    if directory is None:
        return
    book, problem = load_alarms(directory, node)
    if problem is not None:
        log.warning("%s: alarms that last are sent again", problem)
    shared.alarms.change(lambda empty: empty if book is None else book)


def _shared_before(workers: int, inherited: Handover) -> Shared:
    try:
        return Shared(workers=workers, kept=Kept(inherited.memory, inherited.lock))
    except ValueError as error:
        raise HandoverError([f"the memory of the workers can't be taken over: {error}"]) from None


def _fresh(settings: Settings, notifier: Notifier) -> list[Open]:
    """The manager's sockets where it has some for an address; others are bound, and it is to keep them."""
    stock = Stock(activation.given(os.environ, os.getpid()))
    made: list[Open] = []
    try:
        for key, address in addresses_of(settings):
            times = settings.workers if key not in (ADMIN, CLUSTER) else 1
            made.append(opened(key, address, times, stock, mode=settings.admin.socket_mode))
        unwanted = stock.rest()
    except ConfigError:
        for each in made:
            for listener in each.sockets:
                listener.close()
        raise
    for name in {each.name for each in unwanted}:
        notifier.forget(name)
    _store(made, notifier)
    return made


def _taken_over(settings: Settings, inherited: Handover, notifier: Notifier) -> list[Open]:
    """What was handed over for addresses that are still wanted; others are bound first, since that can fail."""
    wanted = addresses_of(settings)
    known = {(each.key, each.address): each.sockets for each in inherited.listening}
    made: dict[tuple[str, str], Open] = {}
    try:
        for key, address in wanted:
            if (key, str(address)) not in known:
                times = settings.workers if key not in (ADMIN, CLUSTER) else 1
                made[key, str(address)] = opened(key, address, times, Stock(()), mode=settings.admin.socket_mode)
    except ConfigError:
        for each in made.values():
            for listener in each.sockets:
                listener.close()
        raise
    _store(list(made.values()), notifier)
    for (key, name), descriptors in known.items():
        sockets = [taken(descriptor) for descriptor in descriptors]
        found = next((address for other, address in wanted if (other, str(address)) == (key, name)), None)
        if found is not None:
            made[key, name] = Open(key, found, sockets, bound=False)
            continue
        notifier.forget(stored_name(key, name))
        for listener in sockets:
            listener.close()  # workers of the former version have theirs
        if name.startswith(UNIX):
            unlink(name.removeprefix(UNIX))
    return [made[key, str(address)] for key, address in wanted]


def _store(listening: Sequence[Open], notifier: Notifier) -> None:
    for each in listening:
        if each.bound:
            notifier.keep(stored_name(each.key, each.address), [listener.fileno() for listener in each.sockets])
