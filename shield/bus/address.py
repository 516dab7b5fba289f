"""Addresses of an engine: one server, several sentinels that know the primary, or the servers of a cluster.

    redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]         rediss:// with TLS, unix:///PATH, and valkey:// for redis://
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST,.../SERVICE[/DATABASE]
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],HOST,...

After a `?` may stand `ca_file`, `certificate_file` and `key_file`, of TLS; and `sentinel_password`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qsl, unquote, urlsplit

_PORT, _SENTINEL_PORT = 6379, 26379
_OPTIONS = ("ca_file", "certificate_file", "key_file", "sentinel_password")
EXPECTED = (
    "expected redis://HOST:PORT/DATABASE, rediss:// for TLS, unix:///PATH, "
    "redis+sentinel://HOST,HOST/SERVICE, or redis+cluster://HOST,HOST"
)


class EngineKind(Enum):
    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """`servers` are hosts and ports; of a unix socket its path, with port 0."""

    kind: EngineKind
    servers: tuple[tuple[str, int], ...]
    database: int = 0
    service: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    is_tls: bool = False
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """For people: without secrets."""
        names = ",".join([host if not port else f"{_in_url(host)}:{port}" for host, port in self.servers])
        rest = f"/{self.service}" if self.service else ""
        return f"{'TLS ' if self.is_tls else ''}{names}{rest}"


def engine_address(url: str) -> EngineAddress:
    """The address in a URL. Raises ValueError with what is expected, and nothing of the URL, which has a password."""
    scheme, sep, rest = url.partition("://")
    scheme, _, mode = scheme.lower().replace("valkey", "redis").partition("+")
    if not sep or scheme not in ("redis", "rediss", "unix") or mode not in ("", "sentinel", "cluster"):
        raise ValueError(EXPECTED)
    if scheme == "unix" and mode:
        raise ValueError(EXPECTED)
    rest, _, query = rest.partition("#")[0].partition("?")  # `urlsplit` takes no list of hosts with one in brackets
    location, slash, below = rest.partition("/")
    options = dict(parse_qsl(query))
    unknown = sorted(options.keys() - {*_OPTIONS})
    if unknown:
        raise ValueError(f"there is no option {unknown[0]}; expected some of {', '.join(_OPTIONS)}")
    credentials, _, hosts = location.rpartition("@")
    user, _, password = credentials.partition(":")
    path = [unquote(part) for part in below.split("/") if part]
    kind = EngineKind(mode or "single")
    if scheme == "unix":
        servers: tuple[tuple[str, int], ...] = ((unquote(slash + below), 0),)
        path = []
        if not servers[0][0]:
            raise ValueError(EXPECTED)
    else:
        port = _SENTINEL_PORT if kind is EngineKind.SENTINEL else _PORT
        servers = tuple([_server(each, port) for each in hosts.split(",")])
    service = path.pop(0) if kind is EngineKind.SENTINEL and path else ""
    if (kind is EngineKind.SENTINEL and not service) or (kind is EngineKind.SINGLE and len(servers) > 1):
        raise ValueError(EXPECTED)
    number = path.pop(0) if path else "0"
    if path or not number.isdecimal() or (kind is EngineKind.CLUSTER and number != "0"):
        raise ValueError(f"expected the number of a database at its end (0 alone in a cluster); {EXPECTED}")
    return EngineAddress(
        kind,
        servers,
        database=int(number),
        service=service,
        user=unquote(user) or None,
        password=unquote(password) or None,
        is_tls=scheme == "rediss",
        ca_file=options.get("ca_file"),
        certificate_file=options.get("certificate_file"),
        key_file=options.get("key_file"),
        sentinel_password=options.get("sentinel_password"),
    )


def _server(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, named = parts.hostname, parts.port
    except ValueError:
        raise ValueError(EXPECTED) from None
    if not host:
        raise ValueError(EXPECTED)
    return host, named or port


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
