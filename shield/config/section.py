"""The common base of all groups of settings, and the types of single values."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from shield.config.units import ExpectedError

_SENDABLE = re.compile(r"[!-~]+").fullmatch
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?").fullmatch
_NAME = "[a-z0-9-]{1,63}"
_OFF = frozenset({"off", "false", "no", "none"})


class Section(BaseModel):
    """A group of keys: frozen, no unknown keys, and errors that don't show the value."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        str_strip_whitespace=False,
        defer_build=True,  # else each is built for itself, and again as part of `Settings`
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        """A section whose keys are all commented out is null in YAML."""
        return {} if value is None else value


class OrOff:
    """Marks a value that may be switched off: null, or `off`, which YAML 1.1 reads as false."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(off_is_none, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(core), {"enum": ["off", False]}]}


_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ListenAddress(NamedTuple):
    """An address to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def near(self) -> str:
        """The host by which a client on this machine reaches it."""
        return _ANY.get(self.host, self.host)


def parse_address(value: object) -> ListenAddress:
    """`host:port`, `[v6]:port` or `:port` (all IPv4 addresses). Raises ExpectedError."""
    if isinstance(value, ListenAddress):
        return value
    wanted = ExpectedError("expected host:port, [v6]:port or :port, as 127.0.0.1:8080")
    if not isinstance(value, str):
        raise wanted
    host, colon, digits = value.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", digits) or int(digits) > 65535:
        raise wanted
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_v6(host):
            raise wanted
    elif host and not _HOST_NAME(host):
        raise wanted
    return ListenAddress(host or "0.0.0.0", int(digits))


def is_name(text: str) -> bool:
    """Whether an origin or route may have this name."""
    return re.fullmatch(_NAME, text) is not None


def is_loopback(host: str) -> bool:
    """Whether a host is always this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def none_is_empty(value: Any) -> Any:
    """An empty list for the spellings of none."""
    return () if value in (None, "none", False) else value


def off_is_none(value: object) -> object:
    """None for the spellings of a value that is switched off."""
    if value is False or (isinstance(value, str) and value.lower() in _OFF):
        return None
    return value


def off_is_off(value: object) -> object:
    """The word `off`, where it is one of several choices: YAML 1.1 reads it as false."""
    return "off" if value is not None and off_is_none(value) is None else value


def _is_v6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _one_is_a_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _endpoint(value: str) -> str:
    """A URL to connect to. Errors don't quote it: people put passwords into URLs."""
    wanted = ExpectedError("expected http:// or https:// and a host, without user, query or fragment")
    if not value.isascii() or not re.fullmatch(r"[!-~]+", value) or any(mark in value for mark in "@?#\\"):
        raise wanted
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not (_HOST_NAME(host.removesuffix(".")) or _is_v6(host)):
        raise wanted
    return value.rstrip("/")


def _secret(value: SecretStr) -> SecretStr:
    if not _SENDABLE(value.get_secret_value()):
        raise ExpectedError("expected printable ASCII without blanks")
    return value


def matching(pattern: str, expected: str) -> AfterValidator:
    """Text that matches as a whole; else the problem states the expectation."""
    matches = re.compile(pattern).fullmatch

    def check(value: str) -> str:
        if not matches(value):
            raise ExpectedError(f"expected {expected}")
        return value

    return AfterValidator(check)


def _text(value: str) -> str:
    """Text that can be sent: without lone surrogates, which a YAML escape or a broken variable may contain."""
    if not value.isprintable():
        raise ExpectedError("expected printable text")
    return value


def _file(value: Any) -> Any:
    if value == "":
        raise ExpectedError("expected a file")
    return value


def _absolute(value: Path) -> Path:
    """An absolute path, so that the directory in which a node is started doesn't matter."""
    if not value.is_absolute() or not str(value).isprintable():
        raise ExpectedError("expected an absolute path, as /var/cache/shield/nvme0")
    return value


LISTEN_SCHEMA = {"type": "string", "pattern": r":[0-9]{1,5}$", "examples": ["127.0.0.1:8080", "[::1]:8080", ":8080"]}

Name = Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
NodeName = Annotated[str, matching(r"[A-Za-z0-9._-]{1,100}", "letters, digits, dots, hyphens")]
Text = Annotated[str, AfterValidator(_text)]
Bucket = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}", "a bucket's name: letters, digits, dots, hyphens")
]
Region = Annotated[str, matching(r"[A-Za-z0-9._-]{1,64}", "a region, as eu-central-1")]
EndpointUrl = Annotated[str, AfterValidator(_endpoint)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
File = Annotated[Path, BeforeValidator(_file)]
FieldName = Annotated[
    str, matching(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}", "a field's name in lower case, as accept-language")
]
MediaType = Annotated[str, matching(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", "a media type, as image/webp")]
Directory = Annotated[Path, BeforeValidator(_file), AfterValidator(_absolute)]
Listen = Annotated[ListenAddress, BeforeValidator(parse_address), WithJsonSchema(LISTEN_SCHEMA)]
Listens = Annotated[
    tuple[Listen, ...],
    BeforeValidator(_one_is_a_list),
    WithJsonSchema({"anyOf": [LISTEN_SCHEMA, {"type": "array", "minItems": 1, "items": LISTEN_SCHEMA}]}),
]
