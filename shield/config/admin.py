"""Settings of the admin API: its listener, and the tokens of permitted callers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

from shield.config.places import KeyPath, Tree
from shield.config.section import (
    LISTEN_SCHEMA,
    File,
    ListenAddress,
    Name,
    OrOff,
    Secret,
    Section,
    Text,
    is_name,
    parse_address,
)
from shield.config.units import Duration, ExpectedError, duration
from shield.rules.tokens import LEAST_CHARACTERS

UNIX = "unix:"
"""How the address of a unix socket begins."""

_LONGEST_PATH = 107  # bytes of a unix socket's path, by the kernel


class UnixAddress(NamedTuple):
    """A unix socket to listen on, by its path."""

    path: str

    def __str__(self) -> str:
        return f"{UNIX}{self.path}"

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it."""
        return True


AdminAddress = ListenAddress | UnixAddress


def parse_admin_address(value: object) -> AdminAddress:
    """`unix:/path`, or as `parse_address`. Raises ExpectedError."""
    if isinstance(value, UnixAddress):
        return value
    if not isinstance(value, str) or not value.startswith(UNIX):
        return parse_address(value)
    path = value.removeprefix(UNIX)
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise ExpectedError("expected unix: and an absolute path, as unix:/run/shield/admin.sock")
    if len(path.encode()) > _LONGEST_PATH:
        raise ExpectedError(f"expected a path of at most {_LONGEST_PATH} bytes: the system takes no longer one")
    return UnixAddress(path)


def _mode(value: object) -> int:
    """Permissions in octal digits."""
    if isinstance(value, str) and len(value) in (3, 4) and set(value) <= set("01234567"):
        mode = int(value, 8)
        if mode <= 0o777:
            return mode
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    raise ExpectedError('expected permissions in octal digits, as "0660"')


def _long(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < LEAST_CHARACTERS:
        raise ExpectedError(f"expected {LEAST_CHARACTERS} characters at least; openssl rand -hex 32 makes good ones")
    return value


def _named(value: Any) -> Any:
    """The error doesn't name the key: it may be a secret in the wrong place."""
    if isinstance(value, Mapping) and not all(
        is_name(str(name)) and _is_section(each) for name, each in value.items()
    ):
        raise ExpectedError(
            "expected a name (lower case letters, digits, hyphens) and {role: ..., secret_file: ...} each"
        )
    return value


def _is_section(value: object) -> bool:
    return isinstance(value, Mapping | TokenSettings)


_ADMIN_SCHEMA = {
    "anyOf": [LISTEN_SCHEMA, {"type": "string", "pattern": "^unix:/.", "examples": ["unix:/run/shield/admin.sock"]}]
}
_AdminListen = Annotated[AdminAddress, BeforeValidator(parse_admin_address), WithJsonSchema(_ADMIN_SCHEMA)]
_Permissions = Annotated[
    int, BeforeValidator(_mode), WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3}$", "examples": ["0600"]})
]
_LongSecret = Annotated[Secret, AfterValidator(_long)]


class TokenSettings(Section):
    """A token of the admin API, which callers send as `Authorization: Bearer SECRET`."""

    role: Literal["read", "purge", "operate"] = Field(
        description="Its permissions. read: look at metrics, state and records; purge: also purge, take down and "
        "announce objects; operate: everything, as reloads, drains, drills, warming and upgrades."
    )
    secret: _LongSecret | None = Field(
        default=None, description=f"At least {LEAST_CHARACTERS} characters, so that it can't be guessed."
    )
    secret_file: File | None = Field(
        default=None, description="File with the secret. It may be replaced while the node runs."
    )


class AdminSettings(Section):
    """Health, metrics and state, for operators."""

    listen: Annotated[_AdminListen | None, OrOff()] = Field(
        default=ListenAddress("127.0.0.1", 9180),
        description="Address of the admin API: host and port, or unix: and a path, as unix:/run/shield/admin.sock; "
        "off or null: none. Loopback, since without tokens it admits everyone who reaches it.",
        json_schema_extra={"default": "127.0.0.1:9180"},
    )
    socket_mode: _Permissions = Field(
        default=0o660,
        description="Permissions of its unix socket, which admits to the API. Default: the node's user and group.",
        json_schema_extra={"default": "0660"},
    )
    tokens: Annotated[Mapping[Name, TokenSettings], BeforeValidator(_named)] = Field(
        default_factory=dict,
        description="Tokens by name, which the audit log names. If omitted: everyone who reaches the listener may do "
        "everything, and it must be on loopback or a unix socket. Probes (/live, /ready, /health) take no token.",
        json_schema_extra={"additionalProperties": False},
    )
    hosts: tuple[Text, ...] = Field(
        default=(),
        description='Accepted Host names besides addresses, localhost and names without dots; ["*"]: '
        "any. Without this, a web page could reach it through a local browser, by a domain that resolves here.",
    )
    connections: int = Field(
        default=100,
        ge=1,
        description="Connections at a time. Beyond that, the one that has been idle for longest is closed, or the "
        "new one if none is idle. Monitoring needs few.",
    )
    timeout: Duration = duration(
        "30s",
        "To receive a request's head, to receive its body, and between reads of its response by the client.",
        least="1s",
    )


def token_secrets(tree: Tree) -> list[KeyPath]:
    """The keys of all tokens' secrets."""
    return [("admin", "tokens", name, "secret") for name, _ in tree.items("admin", "tokens")]


def is_token_file(path: KeyPath) -> bool:
    """Whether a key names the file of a token's secret."""
    return len(path) == 4 and path[:2] == ("admin", "tokens") and path[3] == "secret_file"


def secrets_of(settings: AdminSettings) -> dict[str, Any]:
    """The secrets of all tokens by their names."""
    return {name: each.secret.get_secret_value() for name, each in settings.tokens.items() if each.secret is not None}
