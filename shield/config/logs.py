"""Settings of logs: of events, and of requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from shield.config.section import FieldName, File, OrOff, Section, matching, off_is_off
from shield.config.units import KIB, Size, size
from shield.rules.log_lines import BEHIND_COMBINED, FIELDS, USUAL

_LogField = Annotated[
    str,
    matching("|".join(FIELDS), f"one of {' '.join(FIELDS)}"),
    WithJsonSchema({"type": "string", "enum": list(FIELDS)}),
]


class LogSettings(Section):
    """Events, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Lowest level of events.")
    format: Literal["text", "json"] = Field(default="text", description="Events as text for people or JSON lines.")


class AccessLogSettings(Section):
    """A line for each request that isn't a hit, and for as many hits as wanted."""

    format: Annotated[Literal["json", "combined", "off"], BeforeValidator(off_is_off)] = Field(
        default="json",
        description="One JSON object a line; or the combined format of Apache and nginx with our fields behind it, "
        "as cache=miss; or off: no access log.",
    )
    fields: tuple[_LogField, ...] | None = Field(
        default=None,
        min_length=1,
        description="The fields of JSON lines, or those behind the combined format, in this order. If omitted: "
        f"{' '.join(USUAL)}; behind the combined format {' '.join(BEHIND_COMBINED)}.",
    )
    hits: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Share of the hits that are logged, taken at random; 1: all, at two to three times a hit's CPU. "
        "None by default, since the CDN has logged them already. All other requests, errors and responses that broke "
        "off are logged in any case.",
    )
    file: File | None = Field(
        default=None,
        description="File that lines are appended to. It may be renamed at any time, as logrotate does: the node "
        "notices within a second, without a signal. If omitted: standard output.",
    )
    memory: Size = size(
        "8MiB",
        "Memory for lines that wait for a slow disk or reader, of all workers together; beyond that, lines are "
        "dropped and counted. Enough for some seconds of a busy node.",
        least=64 * KIB,
    )


class RequestIdSettings(Section):
    """An identifier for each request that needs one: one that isn't a plain hit, or that is logged."""

    fields: tuple[FieldName, ...] = Field(
        default=("cf-ray", "x-amz-cf-id", "cdn-requestid", "x-request-id"),
        description="Request fields from which it is taken, the first that has one: of the CDN, so that its log and "
        "ours can be joined. 128 letters, digits and ._~:/+=@- at most. Without any, the node makes one.",
    )
    send: Annotated[FieldName | None, OrOff()] = Field(
        default="x-request-id",
        description="Field in which origins of provider http get it; off: none. Object storages have their own.",
        json_schema_extra={"default": "x-request-id"},
    )
    answer: Annotated[FieldName | None, OrOff()] = Field(
        default=None,
        description="Field in which responses state it, those that took more than a look into RAM, as of misses; "
        "heads of hits are ready-made. off: none.",
        json_schema_extra={"default": "off"},
    )
