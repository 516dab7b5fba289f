"""Whether the directory at a path is the one that is meant, or what a disk that isn't mounted leaves bare. Pure.

Below a bare mount point there is room for entries as on any disk, and it is the system's own. So a directory carries
a name, in its file `home`, together with the file system that it was claimed on; and a node remembers under which
name, and on which device, it last had each path. Device numbers mean something for one run of the machine only, which
is as long as a node remembers them; what names a file system in `home` holds longer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from shield.errors import StoreError
from shield.shared import Residence

FILE = "home"


class StrayError(StoreError):
    """Another directory, or none, is where one was: it isn't used without the operator's word."""


@dataclass(frozen=True, slots=True)
class Home:
    """What a directory says of itself. `filesystem` is empty where nothing names it durably.

    `adopted`: the operator's word that it is to be used as it is; the next opening takes it back.
    """

    name: int
    filesystem: str = ""
    adopted: bool = False

    def packed(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def unpacked(data: bytes) -> Home | None:
    """None for what says nothing: then it is as if there was no such file."""
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
    """What lies at a path, or would: on which device and file system. `begun`: a node has used it before.

    `unmounted` is where, at or above the path, a file system should be mounted and isn't; empty if all are.
    """

    device: int
    filesystem: str
    begun: bool
    unmounted: str


def stray(home: Home | None, site: Site, known: Residence | None) -> str:
    """Why a directory isn't to be used; empty when it is. `known` is what the node remembers of its path."""
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
