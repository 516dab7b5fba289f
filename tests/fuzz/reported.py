"""Reports of providers: rows of bills, and lines of access logs."""

from __future__ import annotations

import csv
import io

from shield.rules.reports import GIB, ReportedRead, ReportError, format_of, s3_read
from tests.fuzz.target import Target

_CUR = b"lineItem/UsageType,lineItem/ProductCode,lineItem/UsageAmount,lineItem/UsageStartDate,lineItem/UsageEndDate,"
_S3 = (
    b'o images [06/Feb/2026:00:00:38 +0000] 192.0.2.3 - 3E57 REST.GET.OBJECT a "GET /a HTTP/1.1" 200 - 1500 2000 70 '
    b'10 "-" "shield" -'
)


def check_table(data: bytes) -> None:
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8", "replace")), restval=""))
    except csv.Error:
        return
    for row in rows[:20]:
        row.pop(None, None)
        try:
            found = format_of(list(row))
            _check(None if found is None else found.read(row, GIB))
        except ReportError as error:
            assert str(error)


def check_line(data: bytes) -> None:
    try:
        _check(s3_read(data.decode("utf-8", "surrogateescape")))
    except ReportError as error:
        assert str(error)


def _check(read: ReportedRead | None) -> None:
    if read is not None:
        assert isinstance(read.sent, int) and isinstance(read.requests, int) and read.start == read.start


TARGETS = {
    "report-table": Target(
        check_table,
        (
            _CUR + b"lineItem/ResourceId\nDataTransfer-Out-Bytes,AmazonS3,1.5,2026-11-03,2026-11-04,images\n",
            b"date,bucket_name,api_txn_class_b,downloaded_bytes\n2026-11-03,images,5,1000\n",
            b"ChargePeriodStart,ChargePeriodEnd,ResourceId,ConsumedUnit,ConsumedQuantity,SkuMeter\n"
            b"2026-11-03T00:00:00Z,2026-11-03T01:00:00Z,images,GiB,2,egress\n",
        ),
        (b"1e999", b"nan", b"GB", b"10K requests", b"9999-12-31T23:59:59Z", b"arn:aws:s3:::"),
    ),
    "s3-log": Target(check_line, (_S3,), (b'"', b"REST.HEAD.OBJECT", b"-", b"[", b"]")),
}
