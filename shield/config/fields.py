"""Settings of the fields of responses: which of an origin's are passed on, and which Shield adds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from shield.config.section import OrOff, Section, off_is_off
from shield.config.units import ExpectedError
from shield.rules.fields import NOT_CHANGEABLE, FieldRules
from shield.rules.headers import INTERNAL, NameSet
from shield.rules.locations import PathMapping
from shield.rules.providers import Provider

_is_name = re.compile(r"[A-Za-z0-9!#$%&'+.^_`|~-]{1,100}").fullmatch
_is_text = re.compile(r"[!-~](?:[ -~]{0,4000}[!-~])?").fullmatch
_FOR_OTHER_SITES = "access-control-"
_NOSNIFF = (b"x-content-type-options", b"nosniff")


def _lower(value: str) -> str:
    """A field's name, or the beginning of names and a star, in lower case."""
    if not _is_name(value.removesuffix("*") or "x"):
        raise ExpectedError("expected a field's name, as x-debug, or x-debug-* for a prefix")
    return value.lower()


def _changeable(value: str) -> str:
    name = _lower(value)
    meant = NameSet((name.encode(),))
    if any(known in meant for known in NOT_CHANGEABLE):
        raise ExpectedError("expected no field about a response's length, version or framing")
    return name


def _changes(value: Mapping[str, str]) -> Mapping[str, str]:
    if any(name.endswith("*") for name in value):
        raise ExpectedError("expected whole names, without a star")
    return {_changeable(name): text for name, text in value.items()}


def _text(value: str) -> str:
    if not _is_text(value):
        raise ExpectedError("expected printable ASCII without blanks at its ends")
    return value


NamePatterns = tuple[Annotated[str, AfterValidator(_lower)], ...]
ChangeableNames = tuple[Annotated[str, AfterValidator(_changeable)], ...]
Changes = Annotated[Mapping[str, Annotated[str, AfterValidator(_text)]], AfterValidator(_changes)]
ServerField = Annotated[Annotated[str, AfterValidator(_text)] | None, OrOff()]


class ResponseFieldSettings(Section):
    """Changes to the fields of origins' responses, made on arrival: stored entries keep theirs."""

    internals: Literal["strip", "pass"] | None = Field(
        default=None,
        description="Fields internal to a storage (x-amz-*, x-goog-*, x-ms-*, x-minio-*, x-rgw-*, "
        "request ids and the like): strip or pass them. If omitted: pass for provider http, else strip.",
    )
    keep: NamePatterns = Field(
        default=(),
        description="Fields that are never stripped, as [x-amz-meta-*, strict-transport-security]; a star at the end "
        "matches any ending.",
    )
    remove: ChangeableNames = Field(
        default=(), description="Fields removed as if origins hadn't sent them; a star as in keep."
    )
    set: Changes = Field(
        default_factory=dict,
        description="Fields that replace those of the same name, as if origins had sent them: a lifetime set in this "
        "way applies here, too.",
    )
    add: Changes = Field(default_factory=dict, description="Fields added to those of the same name.")
    nosniff: bool = Field(
        default=True,
        description="Set x-content-type-options: nosniff on responses from object storages, where users may have "
        "uploaded them. Not on those of provider http.",
    )
    digests: Annotated[Literal["off", "asked", "always"], BeforeValidator(off_is_off)] = Field(
        default="asked",
        description="Repr-Digest (RFC 9530), from an object's SHA-512, SHA-256 or MD5 as storages report it: to "
        "requests with Want-Repr-Digest, or to all. Off: origins' fields are forwarded unchanged.",
    )

    rewrite_location: bool = Field(
        default=True,
        description="For provider http: rewrite Location and Content-Location with the origin's own host to paths of "
        "the route. Off: clients get the origin's host, which they usually can't reach.",
    )

    def of_options(self) -> tuple[tuple[bytes, bytes], ...]:
        """The changes that apply to responses to OPTIONS: their CORS fields."""
        said = [*self.set.items(), *self.add.items()]
        return tuple((name.encode(), text.encode()) for name, text in said if name.startswith(_FOR_OTHER_SITES))

    def rules(self, provider: Provider, mapping: PathMapping | None = None) -> FieldRules:
        """The rules for responses of a provider, of an origin at this place."""
        strips = provider.signed if self.internals is None else self.internals == "strip"
        removed = tuple(name.encode() for name in self.remove)
        changes = {name.encode(): value.encode() for name, value in self.set.items()}
        if self.nosniff and provider.signed and _NOSNIFF[0] not in NameSet(removed):
            changes.setdefault(*_NOSNIFF)
        return FieldRules(
            prefixes=INTERNAL if strips else (),
            keep=tuple(name.encode() for name in self.keep),
            remove=removed,
            set=tuple(changes.items()),
            add=tuple((name.encode(), value.encode()) for name, value in self.add.items()),
            digests=self.digests,
            md5_etags=provider.md5_etags,
            storage=provider.signed,
            mapping=mapping if self.rewrite_location and not provider.signed else None,
        )

    def tells_ranges(self) -> bool:
        """Whether responses may advertise ranges: no setting overrides that field."""
        name = b"accept-ranges"
        return name.decode() not in self.set and name not in NameSet(text.encode() for text in self.remove)
