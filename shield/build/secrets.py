"""Secrets and certificates in files that may be replaced while the node runs: checked once a second, by a thread.

Each worker does so for itself. If new files can't be used, the old contents stay in use, and a warning is logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from shield.build.cluster import NodesTls, renewed_tls
from shield.build.listeners import listener_tls
from shield.build.origins import credentials_of
from shield.build.regime import access_rules, purge_access
from shield.build.tokens import admin_tokens
from shield.complaints import Complaints
from shield.config.access import AccessSettings
from shield.config.anew import Anew
from shield.config.cluster import ClusterSettings
from shield.config.loading import CERTIFICATES, OF_NODES, Loaded
from shield.config.places import KeyPath, dotted
from shield.config.purging import PurgeMethodSettings
from shield.config.settings import Settings
from shield.edge.tls import ServerContext
from shield.errors import ConfigError
from shield.origin.origins import Origins
from shield.origin.signer import Credentials
from shield.peers.cluster import Cluster
from shield.regime import InForce
from shield.replaced import Change, FileSet, Marks
from shield.rules.alarms import AlarmCause, AlarmKind
from shield.rules.tokens import AdminTokens

log = logging.getLogger("shield.secrets")

Replacement = Credentials | Settings | AdminTokens | ServerContext | ClusterSettings | NodesTls
"""Settings: with other access rules, or secrets of PURGE."""

_OF_PURGES: KeyPath = ("purge_method",)
_OF_TLS = (CERTIFICATES, OF_NODES)


class SecretFiles:
    """Updates origins, access rules, tokens and TLS listeners when their files are replaced. A service of the node.

    Made and used within one event loop. `show` is called with each new context for TLS handshakes with clients, and
    `show_nodes` for those with other nodes; `admit` with the tokens of the admin API. `cluster` is that of the node,
    if it has one.
    """

    name = "files with secrets"

    def __init__(self, origins: Origins, in_force: InForce, cluster: Cluster | None = None) -> None:
        self._origins = origins
        self._nodes = None if cluster is None else cluster.nodes
        self._nodes_tls = b""  # what is in use, if that is known
        self._in_force = in_force
        self.show: Callable[[ServerContext], None] = lambda context: None
        self.show_nodes: Callable[[ServerContext], None] = lambda context: None
        self.admit: Callable[[AdminTokens], None] = lambda tokens: None
        self.use_bus: Callable[[ClusterSettings], bool] = lambda cluster: False
        """Have the bus of these settings; whether it is another one than before."""
        self._loop = asyncio.get_running_loop()
        self._complaints = Complaints(log)
        self._groups: list[_Group] = []
        self._loaded: Loaded | None = None
        self._access: AccessSettings | None = None
        self._purge_method: PurgeMethodSettings | None = None
        self._running: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._unusable: dict[KeyPath, str] = {}  # the problems of files that have been replaced, by their group

    def troubles(self) -> list[AlarmCause]:
        """Files that have been replaced, and can't be used."""
        return [
            AlarmCause(
                AlarmKind.CERTIFICATE if path in _OF_TLS else AlarmKind.CREDENTIALS,
                "" if path == CERTIFICATES else str(path[-1]),
                f"{dotted(path)}: its files were replaced and can't be used; the old contents stay in use: {said}",
            )
            for path, said in self._unusable.items()
        ]

    def follow(self, loaded: Loaded) -> None:
        """Follow the files of these settings from now on."""
        self._loaded = loaded
        self._access, self._purge_method = loaded.settings.access, loaded.settings.purge_method
        used = {CERTIFICATES: loaded.certificates, OF_NODES: loaded.nodes_certificates}
        self._groups = [_Group(path, FileSet(files, used.get(path, ()))) for path, files in loaded.files.items()]
        for origin in self._origins.all():
            path = ("origins", origin.name)
            origin.renew = self.look if path in loaded.files else None

    async def open(self) -> None:
        """Does nothing: `tick` starts the first check."""

    def tick(self) -> None:
        """Start a check, unless one is running."""
        if self._groups and self._running is None and self._waiting is None:
            self._begin()

    async def look(self) -> None:
        """Check now, and wait until replaced files are in use. Concurrent callers share one check, which begins after
        their calls.
        """
        if self._groups:
            await asyncio.shield(self._waiting or self._begin())

    async def close(self) -> None:
        """Stop, after a check in progress."""
        self._groups = []
        tasks = [task for task in (self._running, self._waiting) if task is not None]
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self) -> asyncio.Task[None]:
        self._waiting = self._loop.create_task(self._look(self._running))
        return self._waiting

    async def _look(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        self._running, self._waiting = self._waiting, None
        try:
            groups, loaded, now = self._groups, self._loaded, self._loop.time()
            if groups and loaded is not None:
                found = await self._loop.run_in_executor(None, _inspect, groups, loaded, now)
                self._unusable = {each.group.path: "; ".join(each.problems) for each in found if each.value is None}
                for finding in found:
                    if finding.group in self._groups:
                        self._apply(finding, now)
        finally:
            self._running = None

    def _apply(self, finding: _Finding, now: float) -> None:
        group, value = finding.group, finding.value
        name = dotted(group.path)
        if value is None:
            self._complaints.say(
                group.path, now, "%s: the old contents stay in use: %s", name, "; ".join(finding.problems)
            )
            return
        group.files.use(finding.marks)
        if isinstance(value, Credentials):
            keys = self._origins.get(str(group.path[1])).keys
            if keys is not None and keys.offer(value):
                log.info("%s: its files were replaced; the new credentials are tried", name)
            return
        if isinstance(value, AdminTokens):
            self.admit(value)
        elif isinstance(value, ClusterSettings):
            has_secrets, has_bus = self.use_secrets(value), self.use_bus(value)
            if not has_secrets and not has_bus:
                return
        elif isinstance(value, NodesTls):
            if not self.use_tls(value):
                return
        elif isinstance(value, Settings):
            if group.path == _OF_PURGES:
                value = value.model_copy(update={"access": self._access})
            else:
                value = value.model_copy(update={"purge_method": self._purge_method})
            if (value.access, value.purge_method) == (self._access, self._purge_method):
                return
            self._access, self._purge_method = value.access, value.purge_method
            regime = replace(self._in_force.regime, access=access_rules(value), purging=purge_access(value))
            self._in_force.swap(regime)
        else:
            self.show(value)
        log.info("%s: its files were replaced; the new contents are used from now on", name)

    def use_secrets(self, cluster: ClusterSettings) -> bool:
        """Sign for other nodes by the secrets of these settings; whether they are others than before."""
        return self._nodes is not None and self._nodes.use_secrets(cluster.secrets())

    def use_tls(self, tls: NodesTls) -> bool:
        """Shake hands with other nodes by these from now on; whether they are others than before."""
        if self._nodes is None or tls.contents == self._nodes_tls:
            return False
        self._nodes_tls = tls.contents
        self._nodes.use_tls(tls.client)
        self.show_nodes(tls.server)
        return True


@dataclass(slots=True, eq=False)
class _Group:
    """Files that are replaced together, by the key of the setting that they belong to."""

    path: KeyPath
    files: FileSet


@dataclass(frozen=True, slots=True)
class _Finding:
    """The result of a check: a value to use, or None and the problems."""

    group: _Group
    marks: Marks
    value: Replacement | None = None
    problems: Sequence[str] = ()


def _inspect(groups: Iterable[_Group], loaded: Loaded, now: float) -> list[_Finding]:
    """Check the groups: a finding for each that has been replaced or can't be read. Blocks."""
    found, changed = [], []
    for group in groups:
        marks = group.files.look()
        change = group.files.judge(marks, now)
        if change is Change.GONE:
            found.append(_Finding(group, marks, None, [f"{group.files.missing(marks)} is gone"]))
        elif change is Change.WHOLE:
            changed.append((group, marks))
    anew = Anew(loaded.source) if any(group.path not in _OF_TLS for group, _ in changed) else None
    for group, marks in changed:
        try:
            value, problems = _value(group.path, loaded.settings, anew), []
        except ConfigError as error:
            value, problems = None, list(error.problems)
        if group.files.look() == marks:  # else it is being replaced right now
            found.append(_Finding(group, marks, value, problems))
    return found


def _value(path: KeyPath, settings: Settings, anew: Anew | None) -> Replacement:
    """The value for the present contents of files. Raises ConfigError."""
    if path == CERTIFICATES:
        return cast(ServerContext, listener_tls(settings))
    if path == OF_NODES:
        return cast(NodesTls, renewed_tls(settings))
    assert anew is not None
    if path == ("cluster",):
        return anew.of_cluster()
    if path == ("admin",):
        return admin_tokens(anew.of_admin())
    if path == ("access",):
        return settings.model_copy(update={"access": anew.of_access()})
    if path == _OF_PURGES:
        return settings.model_copy(update={"purge_method": anew.of_purge_method()})
    credentials = credentials_of(str(path[1]), anew.of_origin(str(path[1])))
    if credentials is None:
        raise ConfigError([f"{dotted(path)}: no credentials in its files any more"])
    return credentials
