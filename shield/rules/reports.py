"""Reports of providers on what was read from their buckets: rows of bills, and lines of access logs.

AWS's Cost and Usage Report (2.0 and legacy), Google's billing export, FOCUS exports of any provider, Backblaze's
usage.*.csv, and the access logs of S3 and Google Cloud Storage. Rows are mappings of column names to text, as of a
CSV file with a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from shield.rules.dates import MONTHS

GB, GIB = 10**9, 1 << 30
OURS = "shield"
"""The User-Agent of requests to origins, by which access logs tell them from others'."""


class ReportError(ValueError):
    """A field can't be understood. `column` is its name."""

    def __init__(self, column: str, said: str) -> None:
        super().__init__(f"{column}: {said}")
        self.column = column


class ReportedRead(NamedTuple):
    """What a report says was read from a bucket from `start` until `stop` (epoch seconds); both are the same for one
    request of an access log. `reader` names who read it, if the report tells; "": it doesn't.
    """

    start: float
    stop: float
    bucket: str
    requests: int
    sent: int
    money: float = 0.0
    currency: str = ""
    reader: str = ""
    is_ours: bool = False


ReportRow = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReportFormat:
    """A kind of report. `read` returns what a row says, None for one that isn't about reads, and raises ReportError.

    `needs` are columns that must be there, each with what to do if it is missing. `is_log`: it has single requests,
    with the bytes of bodies only, and names their readers.
    """

    name: str
    read: Callable[[ReportRow, int], ReportedRead | None]
    needs: Mapping[str, str]
    is_log: bool = False
    uses: tuple[str, ...] = ()
    """Columns that are of use beside those, to read no others of wide tables."""


def format_of(columns: Sequence[str]) -> ReportFormat | None:
    """The kind of a report, by the header of its table; None if it is none of these. Raises ReportError for one that
    lacks a column.
    """
    known = set(columns)
    of_google = [(mark, _google(columns)) for mark in ("sku.description", "sku_description")]
    for mark, found in [*_BY_COLUMN, *of_google]:
        if mark in known:
            for name, remedy in found.needs.items():
                if name not in known:
                    raise ReportError(name, f"there is no such column in this {found.name}: {remedy}")
            return found
    return None


# AWS


def _aws(names: Mapping[str, str]) -> Callable[[ReportRow, int], ReportedRead | None]:
    kind, product, usage_type = names["kind"], names["product"], names["usage_type"]

    def read(row: ReportRow, gigabyte: int) -> ReportedRead | None:
        if row.get(kind, "Usage") not in ("Usage", "DiscountedUsage") or row[product] != "AmazonS3":
            return None
        of = row[usage_type]
        is_bytes, is_requests = _OUT(of) is not None, _GETS(of) is not None
        if not is_bytes and not is_requests:
            return None
        amount = _number(row, names["amount"])
        return ReportedRead(
            _time(row, names["start"]),
            _time(row, names["stop"]),
            _bucket(row[names["resource"]]),
            round(amount) if is_requests else 0,
            round(amount * gigabyte) if is_bytes else 0,
            _number(row, names["cost"]) if row.get(names["cost"]) else 0.0,
            row.get(names["currency"], ""),
        )

    return read


_OUT = re.compile(r"Out-A?Bytes(-T[0-9])?$").search
_GETS = re.compile(r"Requests(-[A-Z]+)?-Tier2$").search  # SIA, ZIA, INT, GLACIER and so on: of a storage class
_LEGACY = {
    "kind": "lineItem/LineItemType",
    "product": "lineItem/ProductCode",
    "usage_type": "lineItem/UsageType",
    "amount": "lineItem/UsageAmount",
    "start": "lineItem/UsageStartDate",
    "stop": "lineItem/UsageEndDate",
    "resource": "lineItem/ResourceId",
    "cost": "lineItem/UnblendedCost",
    "currency": "lineItem/CurrencyCode",
}
_CUR_2 = {
    "kind": "line_item_line_item_type",
    "product": "line_item_product_code",
    "usage_type": "line_item_usage_type",
    "amount": "line_item_usage_amount",
    "start": "line_item_usage_start_date",
    "stop": "line_item_usage_end_date",
    "resource": "line_item_resource_id",
    "cost": "line_item_unblended_cost",
    "currency": "line_item_currency_code",
}


def _aws_format(name: str, names: Mapping[str, str]) -> ReportFormat:
    exported = "export it with resource ids, else it doesn't tell buckets apart"
    needs = {
        names[key]: exported if key == "resource" else "export it with this column"
        for key in ("product", "usage_type", "amount", "start", "stop", "resource")
    }
    return ReportFormat(name, _aws(names), needs, uses=tuple(names.values()))


# FOCUS


def _focus(row: ReportRow, gigabyte: int) -> ReportedRead | None:
    if row.get("ChargeCategory", "Usage") != "Usage":
        return None
    unit_column = "ConsumedUnit" if row.get("ConsumedUnit") else "PricingUnit"
    quantity = "ConsumedQuantity" if row.get("ConsumedUnit") else "PricingQuantity"
    unit = row.get(unit_column, "")
    size, calls = _bytes_of(unit, gigabyte), _calls_of(unit)
    if calls is None and unit == "Units" and "x_SkuMeterName" in row:
        calls = 1  # Azure has operations so
    text = " ".join([row.get(name, "") for name in _DESCRIBING])
    # AWS has its usage types in a column of its own, in version 1.2 as the meter.
    of = row.get("x_UsageType", "") or (row.get("SkuMeter", "") if "x_Operation" in row else "")
    if size is not None:
        is_read = _OUT(of) is not None if of else _EGRESS(text) is not None and _INGRESS(text) is None
    elif calls is not None:
        is_read = (_GETS(of) if of else _READS(text)) is not None
    else:
        return None
    if not is_read:
        return None
    amount = _number(row, quantity)
    return ReportedRead(
        _time(row, "ChargePeriodStart"),
        _time(row, "ChargePeriodEnd"),
        _bucket(row["ResourceId"]),
        0 if calls is None else round(amount * calls),
        0 if size is None else round(amount * size),
        _number(row, "EffectiveCost") if row.get("EffectiveCost") else 0.0,
        row.get("BillingCurrency", ""),
    )


_DESCRIBING = ("SkuMeter", "ChargeDescription", "x_SkuDescription", "x_SkuMeterName", "SkuId")
_EGRESS = re.compile(r"egress|transfer[- ]?out|data transfer|download|bandwidth|internet", re.IGNORECASE).search
_INGRESS = re.compile(r"ingress|transfer[- ]?in\b|upload", re.IGNORECASE).search
_READS = re.compile(r"\b(read|get|class b|tier ?2)\b", re.IGNORECASE).search
_SIZE = re.compile(r"(bytes?|b|[kmgt]i?b|(?:kilo|mega|giga|tera|kibi|mebi|gibi|tebi)bytes?)", re.IGNORECASE).fullmatch
_CALLS = re.compile(r"(?:([0-9]+)(k?) ?)?(?:requests?|operations?|api calls?|count)", re.IGNORECASE).fullmatch
_EXACT = {"k": 1, "m": 2, "g": 3, "t": 4}


@lru_cache(maxsize=64)
def _bytes_of(unit: str, gigabyte: int) -> int | None:
    """Bytes in one of this unit; None: it is no unit of bytes. "GB" is what the provider means by it."""
    if _SIZE(unit) is None:
        return None
    power = _EXACT.get(unit[0].lower(), 0) if unit.lower() not in ("b", "byte", "bytes") else 0
    is_binary = (unit[1:2].lower() == "i" and len(unit) == 3) or unit[2:4].lower() == "bi"
    base = 1024 if is_binary or gigabyte == GIB else 1000
    return int(base**power)


@lru_cache(maxsize=64)
def _calls_of(unit: str) -> int | None:
    found = _CALLS(unit.strip())
    return None if found is None else int(found[1] or 1) * (1000 if found[2] else 1)


# Google


def _google(columns: Sequence[str]) -> ReportFormat:
    """Of its billing export in BigQuery, standard or detailed, whose nested fields are columns: as `sku.description`,
    or as `sku_description`.
    """
    dotted = "sku.description" in columns
    names = {name: name if dotted else name.replace(".", "_") for name in _GOOGLE}

    def read(row: ReportRow, gigabyte: int) -> ReportedRead | None:
        is_of_storage = row[names["service.description"]] == "Cloud Storage"
        if not is_of_storage or row.get("cost_type", "regular") != "regular":
            return None
        text, unit = row[names["sku.description"]], row[names["usage.unit"]]
        size, calls = _bytes_of(unit, gigabyte), _calls_of(unit)
        is_bytes = size is not None and _EGRESS(text) is not None and _INGRESS(text) is None
        if not is_bytes and (calls is None or _READS(text) is None):
            return None
        amount = _number(row, names["usage.amount"])
        resource = row.get(names["resource.name"], "") or row.get(names["resource.global_name"], "")
        return ReportedRead(
            _time(row, "usage_start_time"),
            _time(row, "usage_end_time"),
            _bucket(resource),
            0 if is_bytes else round(amount * (calls or 0)),
            round(amount * (size or 0)) if is_bytes else 0,
            _number(row, "cost") if row.get("cost") else 0.0,
            row.get("currency", ""),
        )

    asked = "select it, with its name, beside the others"
    needed = ("service.description", "sku.description", "usage.amount", "usage.unit")
    needs = dict.fromkeys(["usage_start_time", "usage_end_time", *[names[name] for name in needed]], asked)
    uses = ("cost", "currency", "cost_type", *names.values())
    return ReportFormat("Google billing export", read, needs, uses=uses)


_GOOGLE = (
    *("service.description", "sku.description", "usage.amount", "usage.unit"),
    *("resource.name", "resource.global_name"),
)


# Backblaze


def _b2(row: ReportRow, gigabyte: int) -> ReportedRead | None:
    if not row["bucket_name"]:
        return None  # of the account: the same requests once more
    start = _time(row, "date")
    return ReportedRead(
        start,
        start + timedelta(days=1).total_seconds(),
        row["bucket_name"],
        round(_number(row, "api_txn_class_b")),
        round(_number(row, "downloaded_bytes")),
    )


# access logs


def _gcs(row: ReportRow, gigabyte: int) -> ReportedRead | None:
    if row["cs_method"] not in ("GET", "HEAD"):
        return None
    at, agent = _number(row, "time_micros") / 1e6, row.get("cs_user_agent", "")
    sent = round(_number(row, "sc_bytes"))
    is_ours = agent.partition(",")[0] == OURS  # Google appends ",gzip(gfe)" to some
    return ReportedRead(at, at, row["cs_bucket"], 1, sent, reader=_reader(row["c_ip"], agent), is_ours=is_ours)


_S3_BEGIN = re.compile(r'\S+ (\S+) \[([^\]]{1,64})\] (\S+) (\S+) \S+ (\S+) \S+ ("|- )').match
# After the request line, in which quotes may be as clients sent them, as in the fields in quotes that follow.
_S3_RESULT = re.compile(r'(?:"|-) (\S{3}|-) \S+ (\d+|-) (?:\d+|-) (?:\d+|-) (?:\d+|-) ').search
S3_LOG = "S3 access log"


def is_s3_line(line: str) -> bool:
    """Whether this is a line of an access log of S3."""
    return _s3_fields(line) is not None


def s3_read(line: str) -> ReportedRead | None:
    """A line of an access log of S3; None if it is about no read. Raises ReportError."""
    fields = _s3_fields(line)
    if fields is None:
        raise ReportError("line", "not one of an S3 access log")
    bucket, moment, address, requester, operation, status, sent, agent = fields
    if not operation.startswith(("REST.GET.", "REST.HEAD.", "WEBSITE.GET.", "WEBSITE.HEAD.")):
        return None
    if not status.isdigit() and status != "-":
        raise ReportError("HTTP status", f"expected a number, got {status[:40]}")
    at, size = _log_time(moment), 0 if sent == "-" else int(sent[:18])
    who = address if requester == "-" else requester
    return ReportedRead(at, at, bucket, 1, size, reader=_reader(who, agent), is_ours=agent == OURS)


def _s3_fields(line: str) -> tuple[str, ...] | None:
    """Bucket, time, address, requester, operation, status, bytes sent, User-Agent; None for another line."""
    begin = _S3_BEGIN(line)
    result = None if begin is None else _S3_RESULT(line, begin.end(6) - len(begin[6]) + (begin[6] == '"'))
    if begin is None or result is None:
        return None
    quoted = line[result.end() : line.rfind('"') + 1]  # the Referer and the User-Agent
    start = quoted.rfind(' "')
    return (*begin.groups()[:5], *result.groups(), quoted[start + 2 : -1] if start >= 0 else "")


def _reader(who: str, agent: str) -> str:
    """Short, without versions and comments, so that readers are few."""
    return f"{who} {agent.partition(' ')[0].partition('/')[0][:40] or '-'}"


# fields


def _number(row: ReportRow, column: str) -> float:
    text = row.get(column, "")
    try:
        value = float(text) if len(text) < 40 else float("nan")
    except ValueError:
        value = float("nan")
    if not -1e18 < value < 1e18:
        raise ReportError(column, f"expected a number, got {text[:40] or 'nothing'}")
    return value


def _time(row: ReportRow, column: str) -> float:
    at = _epoch(row[column])
    if at is None:
        raise ReportError(column, f"expected a date and time of ISO 8601, got {row[column][:40] or 'nothing'}")
    return at


@lru_cache(maxsize=256)
def _epoch(text: str) -> float | None:
    try:
        when = datetime.fromisoformat(text.removesuffix(" UTC"))  # as BigQuery writes it
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


_LOG_TIME = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) \+0000").fullmatch
_MONTH = {name.decode(): number for number, name in enumerate(MONTHS, 1)}


@lru_cache(maxsize=64)
def _log_time(text: str) -> float:
    found = _LOG_TIME(text)
    try:
        if found is None:
            raise ValueError(text)
        day, month, year, hour, minute, second = found.groups()
        when = datetime(int(year), _MONTH[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        return when.timestamp()
    except (ValueError, KeyError, OverflowError):
        said = f"expected a time as 06/Feb/2026:00:00:38 +0000, got {text[:40]}"
        raise ReportError("Time", said) from None


def _bucket(resource: str) -> str:
    """The bucket's name, of an ARN or a path, too; of Azure, that of the storage account."""
    name = resource.rpartition(":::")[2] if resource.startswith("arn:") else resource
    if name.lower().startswith("/subscriptions/"):
        parts = name.lower().split("/")
        account = parts.index("storageaccounts") + 1 if "storageaccounts" in parts else len(parts)
        return parts[account] if account < len(parts) else name
    return name.rpartition("/")[2] if name.startswith("//") else name.partition("/")[0]


_FOCUS_NEEDS = {
    "ChargePeriodStart": "export it with this column",
    "ChargePeriodEnd": "export it with this column",
    "ResourceId": "export it with resource ids, else it doesn't tell buckets apart",
}
_FOCUS_USES = (
    *("ChargePeriodStart", "ChargePeriodEnd", "ResourceId", "ChargeCategory", "EffectiveCost"),
    *("ConsumedUnit", "ConsumedQuantity", "PricingUnit", "PricingQuantity", "BillingCurrency"),
    *(*_DESCRIBING, "x_UsageType", "x_Operation"),
)
_BY_COLUMN: tuple[tuple[str, ReportFormat], ...] = (
    ("lineItem/UsageType", _aws_format("AWS Cost and Usage Report", _LEGACY)),
    ("line_item_usage_type", _aws_format("AWS Cost and Usage Report 2.0", _CUR_2)),
    ("x_Operation", ReportFormat("AWS FOCUS export", _focus, _FOCUS_NEEDS, uses=_FOCUS_USES)),
    ("x_SkuMeterName", ReportFormat("Azure FOCUS export", _focus, _FOCUS_NEEDS, uses=_FOCUS_USES)),
    ("ChargePeriodStart", ReportFormat("FOCUS export", _focus, _FOCUS_NEEDS, uses=_FOCUS_USES)),
    (
        "api_txn_class_b",
        ReportFormat(
            "B2 usage report",
            _b2,
            dict.fromkeys(("date", "bucket_name", "downloaded_bytes"), "take a usage.*.csv as it is"),
        ),
    ),
    (
        "time_micros",
        ReportFormat(
            "Cloud Storage access log",
            _gcs,
            dict.fromkeys(("c_ip", "cs_method", "sc_bytes", "cs_bucket"), "take a usage log as it is"),
            is_log=True,
        ),
    ),
)
