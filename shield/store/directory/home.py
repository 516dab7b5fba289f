"""Tells the directory meant for a path from the bare mount point of a disk that isn't mounted. Pure.

A bare mount point has room for entries like any disk, but it is the system's own. So a directory carries a name, in
its file `home`, together with the file system on which it was claimed; and a node remembers the name and device that
each path last had. Device numbers are valid for one run of the machine only, which is as long as a node remembers
them; the identity of a file system in `home` lasts longer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from shield.errors import StoreError
from shield.shared import Residence

FILE = "home"


class StrayError(StoreError):
    """A different directory, or none, is at the path: it isn't used without the operator's confirmation."""


@dataclass(frozen=True, slots=True)
class Home:
    """What a directory records about itself. `filesystem` is empty where no durable identity is known.

    `adopted`: the operator has confirmed that it is to be used as it is; the next opening clears this.
    """

    name: int
    filesystem: str = ""
    adopted: bool = False

    def packed(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def unpacked(data: bytes) -> Home | None:
    """None for unreadable contents: they count as a missing file."""
    try:
        fields = json.loads(data)
        name, filesystem, adopted = fields["name"], fields["filesystem"], fields["adopted"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if type(name) is not int or not 0 < name < 1 << 64 or type(filesystem) is not str or type(adopted) is not bool:
        return None
    return Home(name, filesystem, adopted)


@dataclass(frozen=True, slots=True)
class Site:
    """The directory at a path, or to be made there: its device and file system. `begun`: a node has used it before.

    `unmounted` is where, at or above the path, a file system should be mounted and isn't; empty if all are.
    """

    device: int
    filesystem: str
    begun: bool
    unmounted: str


def stray(home: Home | None, site: Site, known: Residence | None) -> str:
    """Why a directory mustn't be used; empty when it may. `known` is the node's memory of this path."""
    if home is not None and home.adopted:
        return ""
    if known is not None:
        is_known = (home is not None and home.name == known.name) or site.device == known.device
        return "" if is_known else "it is on another file system than before: its disk seems to be unmounted"
    if home is None:
        if site.begun or not site.unmounted:
            return ""
        return f"/etc/fstab has a file system at {site.unmounted}, and it isn't mounted"
    if home.filesystem and site.filesystem and home.filesystem != site.filesystem:
        return f"it was claimed on another file system ({home.filesystem}) than it is on ({site.filesystem})"
    return ""
