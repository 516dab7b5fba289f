"""Settings of who may ask: Shield stands behind a CDN, and nobody else should get at what it guards.

Without this section listeners are on loopback only. That everyone is let in has to be written, and is said loudly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

from shield.config.section import File, Name, Secret, Section, is_name, matching, off_is_none
from shield.config.units import ExpectedError
from shield.messages import NOTABLE
from shield.rules.access import FORWARDED, X_FORWARDED_FOR, AccessRules, Hosts, Rule, Secrets, requirement_of
from shield.rules.addresses import UNIX, Networks, network_of
from shield.rules.signed_urls import Links, Parameters

SECRETS = (("access", "header", "secrets"), ("access", "signed_urls", "keys"))
"""Keys that are never shown. Each may also be given as `<key>_file`."""

CA_FILE = ("access", "client_certificate", "ca_file")
FILES = (CA_FILE, *((*above, f"{key}_file") for *above, key in SECRETS))
"""Keys that hold a path; in YAML, relative to the directory of the file they stand in."""

_RESERVED = NOTABLE | {b"host", b"proxy-connection", FORWARDED, X_FORWARDED_FOR}
_RULE = "|".join(rule.value for rule in Rule)
_ALTERNATIVES = f"(?:{_RULE})(?: or (?:{_RULE}))*"
_HOST = r"(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]"


def _at_least(length: int) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < length:
            raise ExpectedError(f"expected {length} characters at least; openssl rand -hex 32 makes good ones")
        return value

    return AfterValidator(check)


def _unreserved(value: str) -> str:
    if value.lower().encode() in _RESERVED:
        raise ExpectedError("expected a field that has no other meaning, as X-Shield-Secret")
    return value


def _network(value: str) -> str:
    if value != UNIX:
        try:
            network_of(value)
        except ValueError:
            raise ExpectedError("expected a network or address, as 192.0.2.0/24 or 2001:db8::1, or unix") from None
    return value


def _one_a_line(value: Any) -> Any:
    """As they stand in a file of secrets."""
    return [line for line in value.splitlines() if line] if isinstance(value, str) else value


def _named(value: Any) -> Any:
    """Said without a name: of a secret with a comma between braces, its second half becomes one."""
    if isinstance(value, Mapping) and not all(is_name(str(name)) and secret for name, secret in value.items()):
        raise ExpectedError(
            "expected an id (lower case letters, digits, hyphens) and a secret each; one with a comma or colon needs "
            "quotes"
        )
    return value


def _required(value: Any) -> Any:
    """`off` requires nothing; a rule alone is a list of it."""
    if value is not None and off_is_none(value) is None:
        return ()
    return (value,) if isinstance(value, str) else value


_ALTERNATIVES_SCHEMA = {"type": "string", "pattern": f"^{_ALTERNATIVES}$"}
_Alternatives = Annotated[
    str,
    matching(_ALTERNATIVES, f"one of {_RULE.replace('|', ' ')}, or several with `or` between them"),
    WithJsonSchema(_ALTERNATIVES_SCHEMA),
]
_FieldName = Annotated[
    str, matching("[A-Za-z0-9-]{1,64}", "a field's name, as X-Shield-Secret"), AfterValidator(_unreserved)
]
Network = Annotated[str, AfterValidator(_network)]
_Host = Annotated[str, matching(_HOST, "a host without a port, as images.example.net or *.cdn.example")]
_CertificateName = Annotated[str, matching("[!-~]{1,253}", "a name, as edge.cdn.example")]
_Parameter = Annotated[str, matching("[A-Za-z0-9_-]{1,32}", "a parameter's name: letters, digits, hyphens")]
_Secrets = Annotated[tuple[Annotated[Secret, _at_least(16)], ...], BeforeValidator(_one_a_line)]
_Keys = Annotated[Mapping[Name, Annotated[Secret, _at_least(32)]], BeforeValidator(_named)]
RouteAccess = Annotated[
    tuple[_Alternatives, ...],
    BeforeValidator(_required),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["off", False]},
                _ALTERNATIVES_SCHEMA,
                {"type": "array", "items": _ALTERNATIVES_SCHEMA},
            ]
        }
    ),
]
"""What a route requires; empty: nothing."""


class HeaderSettings(Section):
    """A secret that the CDN sends along with each request. It goes no further than here."""

    name: _FieldName = Field(default="X-Shield-Secret", description="Field that holds it.")
    secrets: _Secrets = Field(
        default=(),
        description="Any of these will do: add the new one, change the CDN, remove the old one. 16 characters at "
        "least, so that none can be found by trying. In a secret file, one a line.",
    )
    secrets_file: File | None = Field(default=None, description="File that holds them, one a line.")


class ClientCertificateSettings(Section):
    """Clients show a certificate (mutual TLS). Those that show none, or another, don't get past the handshake, unless
    somebody is let in without.
    """

    ca_file: File = Field(
        description="PEM file of the authorities whose certificates count, and no others: the CDN's own, not a "
        "public one, which vouches for anybody."
    )
    names: tuple[_CertificateName, ...] = Field(
        default=(),
        description="DNS names (or common names) of which the certificate must have one. Empty: any name will do.",
    )


class ParameterSettings(Section):
    """What the parts of a signed URL are called. They are taken off before anything else looks at a URL."""

    expires: _Parameter = Field(default="expires", description="When it expires, in epoch seconds.")
    key: _Parameter = Field(default="key", description="Id of the key that it is signed with.")
    signature: _Parameter = Field(default="signature", description="HMAC-SHA256 in lower-case hex.")


class SignedUrlSettings(Section):
    """Links that expire, made by whoever has a key: `shield sign-url` shows how."""

    keys: _Keys = Field(
        default_factory=dict,
        description="Secrets by the ids that links name; several are valid at once, for rotation. 32 characters at "
        "least: who has a link can try keys on it at home.",
        json_schema_extra={"additionalProperties": False},
    )
    keys_file: File | None = Field(default=None, description="File that holds them, in YAML.")
    parameters: ParameterSettings = Field(
        default_factory=ParameterSettings, description="What the parts of a signed URL are called."
    )


def _off_is_all(value: Any) -> Any:
    """What is left empty isn't `off`: that nobody is kept out has to be written."""
    if value is not None and off_is_none(value) is None:
        return {"allow": "all"}
    if isinstance(value, str):
        raise ExpectedError("expected a mapping of keys to values, or off")
    return value


class AccessSettings(Section):
    """Who may ask. What is refused gets a bare 403 or 421 and costs no origin anything."""

    allow: Literal["required", "all"] = Field(
        default="required",
        description="Whom to let in: those for whom what is required holds, or `all`: for networks that only the CDN "
        "can reach. A route may still require something.",
    )
    require: tuple[_Alternatives, ...] = Field(
        default=(),
        description="Rules that must all hold; `header or addresses` means one of these. Empty: all that are here.",
    )
    header: HeaderSettings | None = Field(default=None, description="A secret that the CDN sends along.")
    client_certificate: ClientCertificateSettings | None = Field(
        default=None, description="Clients show a certificate; needs `tls`."
    )
    addresses: tuple[Network, ...] = Field(
        default=(), description="Networks and addresses that clients come from; `unix`: a unix socket."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Proxies between the CDN and here. The client is whom they name: the rightmost address in "
        "Forwarded (RFC 7239) or X-Forwarded-For that is none of these. Nobody else's word counts.",
    )
    trusted_field: Literal["either", "forwarded", "x-forwarded-for"] = Field(
        default="either",
        description="Field that these proxies write. With either, if both are there, both must name somebody who is "
        "let in: a proxy that writes one may hand on a forgery of the other.",
    )
    hosts: tuple[_Host, ...] = Field(
        default=(),
        description="Hosts that are asked for, `*.cdn.example` being all names below that one; others get 421. Keeps "
        "nobody out who knows one.",
    )
    signed_urls: SignedUrlSettings | None = Field(default=None, description="Links that expire.")

    def configured(self) -> tuple[Rule, ...]:
        """The rules that there are."""
        return tuple(rule for rule in Rule if getattr(self, rule.value))

    def required(self) -> tuple[str, ...]:
        """What must hold where a route doesn't say otherwise."""
        if self.allow == "all":
            return ()
        return self.require or tuple(rule.value for rule in self.configured())

    def rules(self, routes: Mapping[str, RouteAccess | None]) -> AccessRules:
        """The rules as they are kept; `routes` by their names, None where they don't differ."""
        header, certificate, signed = self.header, self.client_certificate, self.signed_urls
        told_by = (FORWARDED, X_FORWARDED_FOR) if self.trusted_field == "either" else (self.trusted_field.encode(),)
        return AccessRules(
            require=requirement_of(self.required()),
            routes={name: requirement_of(texts) for name, texts in routes.items() if texts is not None},
            addresses=Networks(self.addresses),
            trusted=Networks(self.trusted_proxies),
            told_by=frozenset(told_by),
            names=frozenset(map(str.lower, certificate.names)) if certificate and certificate.names else None,
            hosts=Hosts(self.hosts) if self.hosts else None,
            header=header.name.lower().encode() if header else None,
            secrets=Secrets(_plain(header.secrets) if header else ()),
            links=_links(signed) if signed else None,
        )


def _links(signed: SignedUrlSettings) -> Links:
    names = signed.parameters
    return Links(
        dict(zip(map(str.encode, signed.keys), _plain(signed.keys.values()), strict=True)),
        Parameters(names.expires.encode(), names.key.encode(), names.signature.encode()),
    )


def _plain(secrets: Iterable[SecretStr]) -> list[bytes]:
    return [secret.get_secret_value().encode() for secret in secrets]


Access = Annotated[
    AccessSettings,
    BeforeValidator(_off_is_all, json_schema_input_type=AccessSettings | Literal["off", False]),
]
