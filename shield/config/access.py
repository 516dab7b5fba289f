"""Settings of access: Shield is behind a CDN, and no other client should reach the objects it guards.

Without this section listeners are on loopback only. Admitting everyone must be stated, and is reported loudly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

from shield.config.section import File, Name, Secret, Section, is_name, matching, off_is_none
from shield.config.units import ExpectedError
from shield.messages import NOTABLE
from shield.rules.access import FORWARDED, X_FORWARDED_FOR, AcceptedSecrets, AccessRules, Hosts, Rule, requirement_of
from shield.rules.addresses import UNIX, Networks, network_of
from shield.rules.signed_urls import LinkParameters, Links

SECRETS = (("access", "header", "secrets"), ("access", "signed_urls", "keys"), ("purge_method", "secrets"))
"""Keys whose values are never shown. Each may also be given as `<key>_file`."""

CA_FILE = ("access", "client_certificate", "ca_file")
FILES = (CA_FILE, *((*above, f"{key}_file") for *above, key in SECRETS))
"""Keys that hold a path; in YAML, relative to the directory of that file."""

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
    """Split as in a file of secrets, one a line."""
    return [line for line in value.splitlines() if line] if isinstance(value, str) else value


def _named(value: Any) -> Any:
    """The error doesn't name the key: the second half of a secret with a comma between braces becomes one."""
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
_SecretFieldName = Annotated[
    str, matching("[A-Za-z0-9-]{1,64}", "a field's name, as X-Shield-Secret"), AfterValidator(_unreserved)
]
Network = Annotated[str, AfterValidator(_network)]
_Host = Annotated[str, matching(_HOST, "a host without a port, as images.example.net or *.cdn.example")]
_CertificateName = Annotated[str, matching("[!-~]{1,253}", "a name, as edge.cdn.example")]
_Parameter = Annotated[str, matching("[A-Za-z0-9_-]{1,32}", "a parameter's name: letters, digits, hyphens")]
LongSecrets = Annotated[tuple[Annotated[Secret, _at_least(16)], ...], BeforeValidator(_one_a_line)]
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
"""The requirements of a route; empty: none."""


class HeaderSettings(Section):
    """A secret that the CDN sends with each request. It isn't forwarded."""

    name: _SecretFieldName = Field(default="X-Shield-Secret", description="Name of the field.")
    secrets: LongSecrets = Field(
        default=(),
        description="Any of them is accepted. To rotate, add the new one, change the CDN, then remove the old one. "
        "At least 16 characters each, so that they can't be guessed. In a secret file, one a line.",
    )
    secrets_file: File | None = Field(default=None, description="File with the secrets, one a line.")


class ClientCertificateSettings(Section):
    """Clients present a certificate (mutual TLS). Without a valid one the handshake fails, unless the requirements
    admit clients without a certificate.
    """

    ca_file: File = Field(
        description="PEM file of the only trusted authorities: the CDN's own, not a "
        "public one, which vouches for everyone."
    )
    names: tuple[_CertificateName, ...] = Field(
        default=(),
        description="DNS names (or common names) of which the certificate must have one. Empty: any name.",
    )


class ParameterSettings(Section):
    """The names of a signed URL's parameters. They are removed before any other use of a URL."""

    expires: _Parameter = Field(default="expires", description="Expiry, in epoch seconds.")
    key: _Parameter = Field(default="key", description="Id of the signing key.")
    signature: _Parameter = Field(default="signature", description="HMAC-SHA256 in lower-case hex.")


class SignedUrlSettings(Section):
    """Links that expire. Anyone with a key can make them; `shield sign-url` shows how."""

    keys: _Keys = Field(
        default_factory=dict,
        description="Secrets by the ids in links; all of them are valid, for rotation. At least 32 characters each: "
        "a link allows offline guessing.",
        json_schema_extra={"additionalProperties": False},
    )
    keys_file: File | None = Field(default=None, description="File with the keys, in YAML.")
    parameters: ParameterSettings = Field(
        default_factory=ParameterSettings, description="The names of a signed URL's parameters."
    )


def _off_is_all(value: Any) -> Any:
    """An empty value isn't `off`: admitting everyone must be stated."""
    if value is not None and off_is_none(value) is None:
        return {"allow": "all"}
    if isinstance(value, str):
        raise ExpectedError("expected a mapping of keys to values, or off")
    return value


class AccessSettings(Section):
    """Admission of clients. Rejected clients get a bare 403 or 421, and cause no requests to origins."""

    allow: Literal["required", "all"] = Field(
        default="required",
        description="Clients to admit: those that meet the requirements, or `all`: for networks that only the CDN "
        "can reach. A route may still have requirements.",
    )
    require: tuple[_Alternatives, ...] = Field(
        default=(),
        description="Rules that must all hold; `header or addresses` means one of these. Empty: all configured.",
    )
    header: HeaderSettings | None = Field(default=None, description="A secret that the CDN sends with each request.")
    client_certificate: ClientCertificateSettings | None = Field(
        default=None, description="Clients present a certificate; needs `tls`."
    )
    addresses: tuple[Network, ...] = Field(
        default=(), description="Networks and addresses of clients; `unix`: a unix socket."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Proxies between the CDN and this node. They name the client: the rightmost address in "
        "Forwarded (RFC 7239) or X-Forwarded-For that isn't one of these. No other client is believed.",
    )
    trusted_field: Literal["either", "forwarded", "x-forwarded-for"] = Field(
        default="either",
        description="Field that these proxies write. With either, if both are present, both must name admitted "
        "clients: a proxy that writes one may forward a forgery of the other.",
    )
    hosts: tuple[_Host, ...] = Field(
        default=(),
        description="Accepted Host names, `*.cdn.example` being all names below it; others get 421. No protection "
        "against clients that know one.",
    )
    signed_urls: SignedUrlSettings | None = Field(default=None, description="Links that expire.")

    def configured(self) -> tuple[Rule, ...]:
        """The configured rules."""
        return tuple(rule for rule in Rule if getattr(self, rule.value))

    def required(self) -> tuple[str, ...]:
        """The requirements where a route has none of its own."""
        if self.allow == "all":
            return ()
        return self.require or tuple(rule.value for rule in self.configured())

    def client_fields(self) -> tuple[bytes, ...]:
        """The fields in which trusted proxies name their clients."""
        return (FORWARDED, X_FORWARDED_FOR) if self.trusted_field == "either" else (self.trusted_field.encode(),)

    def rules(self, routes: Mapping[str, RouteAccess | None], own: RouteAccess | None = None) -> AccessRules:
        """The rules in force; `routes` by name, None where one doesn't differ; `own` for the node's own path."""
        header, certificate, signed = self.header, self.client_certificate, self.signed_urls
        return AccessRules(
            require=requirement_of(self.required()),
            routes={name: requirement_of(texts) for name, texts in routes.items() if texts is not None},
            own=None if own is None else requirement_of(own),
            addresses=Networks(self.addresses),
            trusted=Networks(self.trusted_proxies),
            client_fields=frozenset(self.client_fields()),
            names=frozenset(map(str.lower, certificate.names)) if certificate and certificate.names else None,
            hosts=Hosts(self.hosts) if self.hosts else None,
            header=header.name.lower().encode() if header else None,
            secrets=AcceptedSecrets(plain_secrets(header.secrets) if header else ()),
            links=_links(signed) if signed else None,
        )


def _links(signed: SignedUrlSettings) -> Links:
    names = signed.parameters
    return Links(
        dict(zip(map(str.encode, signed.keys), plain_secrets(signed.keys.values()), strict=True)),
        LinkParameters(names.expires.encode(), names.key.encode(), names.signature.encode()),
    )


def plain_secrets(secrets: Iterable[SecretStr]) -> list[bytes]:
    """The secrets themselves."""
    return [secret.get_secret_value().encode() for secret in secrets]


Access = Annotated[
    AccessSettings,
    BeforeValidator(_off_is_all, json_schema_input_type=AccessSettings | Literal["off", False]),
]
