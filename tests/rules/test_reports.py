"""Rows of providers' reports: which are about reads, of which bucket, and how many bytes."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest

from shield.rules.bill import Usage
from shield.rules.focus import COLUMNS, focus_rows
from shield.rules.prices import Price
from shield.rules.reports import GB, GIB, ReportedRead, ReportError, ReportRow, format_of, is_s3_line, s3_read
from shield.rules.sites import OriginSite

DAY = datetime(2026, 11, 3, tzinfo=UTC).timestamp()


def read(text: str, gigabyte: int = GIB) -> list[ReportedRead]:
    """The reads in a table."""
    rows: list[ReportRow] = list(csv.DictReader(io.StringIO(text), restval=""))
    found = format_of(list(rows[0]))
    assert found is not None
    return [each for each in (found.read(row, gigabyte) for row in rows) if each is not None]


LEGACY = (
    "identity/LineItemId,lineItem/LineItemType,lineItem/UsageStartDate,lineItem/UsageEndDate,lineItem/ProductCode,"
    "lineItem/UsageType,lineItem/ResourceId,lineItem/UsageAmount,lineItem/CurrencyCode,lineItem/UnblendedCost\n"
)
CUR_2 = LEGACY.replace("identity/LineItemId", "identity_line_item_id")
for old, new in (
    ("lineItem/LineItemType", "line_item_line_item_type"),
    ("lineItem/UsageStartDate", "line_item_usage_start_date"),
    ("lineItem/UsageEndDate", "line_item_usage_end_date"),
    ("lineItem/ProductCode", "line_item_product_code"),
    ("lineItem/UsageType", "line_item_usage_type"),
    ("lineItem/ResourceId", "line_item_resource_id"),
    ("lineItem/UsageAmount", "line_item_usage_amount"),
    ("lineItem/CurrencyCode", "line_item_currency_code"),
    ("lineItem/UnblendedCost", "line_item_unblended_cost"),
):
    CUR_2 = CUR_2.replace(old, new)
_HOUR = "2026-11-03T00:00:00Z,2026-11-03T01:00:00Z"
AWS_ROWS = (
    f"1,Usage,{_HOUR},AmazonS3,EUC1-DataTransfer-Out-Bytes,images,0.5,USD,0.045\n"
    f"2,Usage,{_HOUR},AmazonS3,EUC1-Requests-Tier2,images,1200.0,USD,0.000516\n"
    f"3,Usage,{_HOUR},AmazonS3,EUC1-USE1-AWS-Out-Bytes,images,0.25,USD,0.005\n"
    f"4,Usage,{_HOUR},AmazonS3,EUC1-Requests-Tier1,images,9,USD,0.1\n"  # PUT and LIST
    f"5,Usage,{_HOUR},AmazonS3,EUC1-TimedStorage-ByteHrs,images,7,USD,0.1\n"
    f"6,Usage,{_HOUR},AmazonS3,EUC1-DataTransfer-In-Bytes,images,7,USD,0\n"
    f"7,Usage,{_HOUR},AmazonEC2,EUC1-DataTransfer-Out-Bytes,i-1,7,USD,0.1\n"
    f"8,Tax,{_HOUR},AmazonS3,EUC1-DataTransfer-Out-Bytes,images,7,USD,0.1\n"
)


@pytest.mark.parametrize("header", [LEGACY, CUR_2], ids=["legacy", "2.0"])
def test_aws_rows_of_egress_and_get_requests_count_and_no_others(header: str) -> None:
    found = read(header + AWS_ROWS)

    assert [(each.requests, each.sent) for each in found] == [(0, GIB // 2), (1200, 0), (0, GIB // 4)]
    assert {each.bucket for each in found} == {"images"}
    assert found[0] == ReportedRead(DAY, DAY + 3600, "images", 0, GIB // 2, 0.045, "USD")
    assert read(header + AWS_ROWS, GB)[0].sent == GB // 2


def test_a_focus_export_counts_usage_of_egress_and_reads_in_its_units() -> None:
    header = (
        "ChargeCategory,ChargePeriodStart,ChargePeriodEnd,ResourceId,ConsumedQuantity,ConsumedUnit,SkuMeter,"
        "ChargeDescription,EffectiveCost,BillingCurrency\n"
    )
    hour = "2026-11-03T00:00:00Z,2026-11-03T01:00:00Z"
    found = read(
        header
        + f"Usage,{hour},arn:aws:s3:::images,2,GiB,Data transfer out,,0.2,EUR\n"
        + f"Usage,{hour},images,3,10K requests,,Class B operations (read),0.1,EUR\n"
        + f"Usage,{hour},images,5,GB-Mo,Storage,,0.1,EUR\n"
        + f"Usage,{hour},images,5,GB,Storage,,0.1,EUR\n"
        + f"Credit,{hour},images,9,GB,Data transfer out,,-1,EUR\n"
    )

    assert [(each.bucket, each.requests, each.sent) for each in found] == [
        ("images", 0, 2 * GIB),
        ("images", 30_000, 0),
    ]
    assert found[0].money == 0.2 and found[0].currency == "EUR"


@pytest.mark.parametrize("version", COLUMNS)
def test_what_we_export_as_focus_is_read_again(version: str) -> None:
    usage = [Usage(int(DAY), "fra", "images", "miss", 123_456_789, (1000, 0, 50, 9, 1))]
    site = OriginSite("aws", "eu-central-1", "images")
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS[version])
    writer.writeheader()
    writer.writerows(focus_rows(usage, {"fra": Price(0.09, 0.0004)}, lambda name, at: site, {}, version))

    found = read(out.getvalue(), GB)

    assert sum(each.sent for each in found) == 123_456_789
    assert sum(each.requests for each in found) == 1050
    assert {(each.start, each.stop, each.bucket) for each in found} == {(DAY, DAY + 3600, "images")}


def test_rows_of_a_b2_account_repeat_those_of_its_buckets_and_are_left_out() -> None:
    found = read(
        "date,bucket_id,bucket_name,uploaded_gb,downloaded_gb,downloaded_bytes,stored_gb,api_txn_class_b\n"
        "2026-11-03,,,0,40.0,40000000,0,99\n"
        "2026-11-03,b4d5e6,images,0,0.04,40000000,0.47,99\n"
    )

    assert found == [ReportedRead(DAY, DAY + 86400, "images", 99, 40_000_000)]


S3_LINE = (
    "79a59df900b949e5 images [06/Feb/2026:00:00:38 +0000] 192.0.2.3 {requester} 3E57427F33A59F07 {operation} a/b "
    '"GET /images/a/b.webp?versionId=1 HTTP/1.1" 200 - {sent} 2000 70 10 "-" "{agent}" - s9lzHYrFp76ZVxRc== SigV4 '
    "ECDHE-RSA-AES128-GCM-SHA256 AuthHeader images.s3.eu-central-1.amazonaws.com TLSV1.2 - -"
)


def s3_line(
    sent: str = "1500",
    operation: str = "REST.GET.OBJECT",
    agent: str = "shield",
    requester: str = "arn:aws:iam::1:user/x",
) -> str:
    return S3_LINE.format(sent=sent, operation=operation, agent=agent, requester=requester)


def test_a_line_of_an_s3_log_tells_reader_and_bytes_and_ours_by_its_user_agent() -> None:
    at = datetime(2026, 2, 6, 0, 0, 38, tzinfo=UTC).timestamp()

    assert is_s3_line(s3_line())
    assert s3_read(s3_line()) == ReportedRead(
        at, at, "images", 1, 1500, reader="arn:aws:iam::1:user/x shield", is_ours=True
    )
    other = s3_read(s3_line(agent="curl/8.5.0 (x)", requester="-"))
    assert other is not None and (other.reader, other.is_ours) == ("192.0.2.3 curl", False)
    assert s3_read(s3_line(operation="REST.PUT.OBJECT")) is None
    absent = s3_read(s3_line(sent="-"))
    assert absent is not None and absent.sent == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # As in Amazon's documentation, with the fields that were added over the years, and without.
        (
            "79a59df900b949e5 images [06/Feb/2019:00:00:38 +0000] 192.0.2.3 79a59df900b949e5 3E57427F3EXAMPLE "
            'REST.GET.VERSIONING - "GET /images?versioning HTTP/1.1" 200 - 113 - 7 - "-" "S3Console/0.4" - '
            "s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234= SigV4 "
            "ECDHE-RSA-AES128-GCM-SHA256 AuthHeader images.s3.us-west-1.amazonaws.com TLSV1.2 "
            "arn:aws:s3:us-west-1:123456789012:accesspoint/example-AP Yes",
            (1, 113, "79a59df900b949e5 S3Console"),
        ),
        (
            "79a59df900b949e5 images [06/Feb/2019:00:00:38 +0000] 192.0.2.3 - A1206F460EXAMPLE REST.GET.BUCKETPOLICY "
            '- "GET /images?policy HTTP/1.1" 404 NoSuchBucketPolicy 297 - 38 - "-" "S3Console/0.4" -',
            (1, 297, "192.0.2.3 S3Console"),
        ),
        # Clients' quotes aren't escaped.
        (
            "79a59df900b949e5 images [06/Feb/2019:00:00:38 +0000] 192.0.2.3 - A1206F460EXAMPLE REST.GET.OBJECT a%22b "
            '"GET /a"b" 1 HTTP/1.1" 206 - 4096 900000 38 12 "https://x/"y"" "Mozilla/5.0 ("odd")" - abc= SigV4 - -',
            (1, 4096, "192.0.2.3 Mozilla"),
        ),
        (
            "79a59df900b949e5 images [06/Feb/2019:00:00:38 +0000] - - A1206F460EXAMPLE REST.GET.OBJECT a - "
            "200 - 5 5 38 12 - - - abc= - - - - - -",
            (1, 5, "- -"),
        ),
    ],
)
def test_lines_of_s3_as_they_are(line: str, expected: tuple[int, int, str]) -> None:
    found = s3_read(line)

    assert found is not None and (found.requests, found.sent, found.reader) == expected
    assert found.bucket == "images" and not found.is_ours


def test_requests_to_colder_storage_classes_are_reads_too() -> None:
    hour = "2026-11-03T00:00:00.000Z,2026-11-03T01:00:00.000Z"
    found = read(
        CUR_2
        + f"1,Usage,{hour},AmazonS3,EUC1-Requests-SIA-Tier2,arn:aws:s3:::images,10,USD,0\n"
        + f"2,Usage,{hour},AmazonS3,Requests-ZIA-Tier2,images,5,USD,0\n"
        + f"3,Usage,{hour},AmazonS3,EUC1-Requests-SIA-Tier1,images,7,USD,0\n"
    )

    assert [(each.requests, each.bucket) for each in found] == [(10, "images"), (5, "images")]


def test_a_focus_export_of_aws_has_usage_types_as_meters_and_a_gb_of_2_to_the_30() -> None:
    header = (
        "BilledCost,ChargeCategory,ChargeDescription,ChargePeriodEnd,ChargePeriodStart,ConsumedQuantity,ConsumedUnit,"
        "EffectiveCost,BillingCurrency,ResourceId,SkuMeter,x_Operation,x_ServiceCode\n"
    )
    hour = "2026-11-03T01:00:00.000Z,2026-11-03T00:00:00.000Z"
    bucket = "arn:aws:s3:::images"
    text = (
        header
        + f"0.05,Usage,$0.09 per GB - data transfer out,{hour},0.5,GB,0.05,USD,{bucket},EUC1-DataTransfer-Out-Bytes,"
        + "GetObject,AmazonS3\n"
        + f"0,Usage,$0.000 per GB - data transfer in,{hour},7,GB,0,USD,{bucket},EUC1-DataTransfer-In-Bytes,"
        + "PutObject,AmazonS3\n"
        + f"0,Usage,GET and all other requests,{hour},1200,Requests,0,USD,{bucket},EUC1-Requests-Tier2,"
        + "GetObject,AmazonS3\n"
    )
    found = format_of(header.strip().split(","))

    assert found is not None and found.name == "AWS FOCUS export"
    assert [(each.bucket, each.sent, each.requests) for each in read(text)] == [
        ("images", GIB // 2, 0),
        ("images", 0, 1200),
    ]


def test_a_focus_export_of_google_has_gibibytes_bytes_and_times_as_bigquery_writes_them() -> None:
    header = (
        "ChargeCategory,ChargePeriodStart,ChargePeriodEnd,ResourceId,ConsumedQuantity,ConsumedUnit,PricingQuantity,"
        "PricingUnit,ChargeDescription,EffectiveCost,BillingCurrency\n"
    )
    hour = "2026-11-03 00:00:00 UTC,2026-11-03 01:00:00 UTC"
    bucket = "//storage.googleapis.com/projects/p-1/buckets/images"
    found = read(
        header
        + f"Usage,{hour},{bucket},5000,bytes,,,Download Worldwide Destinations (excluding Asia & Australia),0,USD\n"
        + f"Usage,{hour},{bucket},,,0.5,gibibyte,Network Data Transfer GCP Inter Region within Europe,0,USD\n"
        + f"Usage,{hour},{bucket},9,requests,,,Standard Storage Class B Operations,0,USD\n"
        + f"Usage,{hour},{bucket},9,byte-seconds,,,Standard Storage Frankfurt,0,USD\n"
        + f"Usage,{hour},{bucket},9,bytes,,,Network Data Transfer In,0,USD\n",
        GB,
    )

    assert [(each.sent, each.requests) for each in found] == [(5000, 0), (GIB // 2, 0), (0, 9)]
    assert {(each.start, each.stop, each.bucket) for each in found} == {(DAY, DAY + 3600, "images")}


def test_a_usage_report_of_b2_as_it_is() -> None:
    found = read(
        "date,bucket_id,bucket_name,uploaded_gb,deleted_gb,downloaded_gb,downloaded_bytes,downloaded_favored_bytes,"
        "stored_gb,storage_byte_hours,api_txn_class_a,api_txn_class_b,api_txn_class_c,api_txn_class_d\n"
        "2026-11-03,,,0.00,0.00,0.00,0,0,0.00,0,0,0,87,0\n"
        "2026-11-03,b1a2c3,images,0.00,0.00,0.01,14819950,280738,0.02,360381552,0,58,2,0\n"
    )

    assert found == [ReportedRead(DAY, DAY + 86400, "images", 58, 14_819_950)]
    with pytest.raises(ReportError, match=r"downloaded_bytes: there is no such column in this B2 usage report"):
        format_of(["date", "bucket_name", "downloaded_gb", "api_txn_class_b"])


def test_a_cloud_storage_log_as_it_is() -> None:
    header = (
        '"time_micros","c_ip","c_ip_type","c_ip_region","cs_method","cs_uri","sc_status","cs_bytes","sc_bytes",'
        '"time_taken_micros","cs_host","cs_referer","cs_user_agent","s_request_id","cs_operation","cs_bucket",'
        '"cs_object"\n'
    )
    found = read(
        header
        + f'"{int(DAY * 1e6)}","203.0.113.7","1","","GET","/images/a.png","200","0","245035","1200",'
        + '"storage.googleapis.com","https://x/, page 2","shield,gzip(gfe)","req-1","GET_Object","images","a.png"\n'
        + f'"{int(DAY * 1e6)}","203.0.113.8","1","","GET","/images/b.png","404","0","120","900",'
        + '"storage.googleapis.com","","Mozilla/5.0 (Mac) like, Gecko","req-2","GET_Object","images","b.png"\n'
    )

    assert [(each.sent, each.is_ours, each.reader) for each in found] == [
        (245035, True, "203.0.113.7 shield,gzip(gfe)"),
        (120, False, "203.0.113.8 Mozilla"),
    ]


def test_a_cloud_storage_log_counts_reads() -> None:
    found = read(
        '"time_micros","c_ip","cs_method","sc_status","sc_bytes","cs_user_agent","cs_bucket","cs_object"\n'
        f'"{int(DAY * 1e6)}","192.0.2.3","GET","200","1500","shield","images","a"\n'
        f'"{int(DAY * 1e6)}","192.0.2.3","PUT","200","0","shield","images","a"\n'
    )

    assert found == [ReportedRead(DAY, DAY, "images", 1, 1500, reader="192.0.2.3 shield", is_ours=True)]


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        (LEGACY + AWS_ROWS.replace(",0.5,", ",half,"), "lineItem/UsageAmount", "expected a number, got half"),
        (LEGACY + AWS_ROWS.replace("2026-11-03T00:00:00Z,", "Tuesday,"), "lineItem/UsageStartDate", "got Tuesday"),
        (LEGACY.replace("lineItem/ResourceId", "x") + AWS_ROWS, "lineItem/ResourceId", "export it with resource ids"),
    ],
)
def test_a_field_that_cant_be_understood_is_named(text: str, column: str, said: str) -> None:
    with pytest.raises(ReportError) as error:
        read(text)
    assert error.value.column == column and said in str(error.value)


def test_a_table_of_another_kind_is_none() -> None:
    assert format_of(["a", "b"]) is None
    assert not is_s3_line('192.0.2.1 - - [06/Feb/2026:00:00:38 +0000] "GET / HTTP/1.1" 200 5 "-" "-"')


GOOGLE = (
    "usage_start_time,usage_end_time,service.description,sku.description,usage.amount,usage.unit,cost,currency,"
    "cost_type,resource.name\n"
)
GOOGLE_ROWS = (
    "2026-11-03,2026-11-03T01:00:00Z,Cloud Storage,"
    "Download Worldwide Destinations (excluding Asia & Australia),5000000000,bytes,0.56,USD,regular,images\n"
    "2026-11-03,2026-11-03T01:00:00Z,Cloud Storage,Regional Standard Class B Operations,700,requests,"
    "0.00028,USD,regular,images\n"
    "2026-11-03,2026-11-03T01:00:00Z,Cloud Storage,Standard Storage US Regional,9e15,byte-seconds,1,USD,"
    "regular,images\n"
    "2026-11-03,2026-11-03T01:00:00Z,Cloud Storage,Regional Standard Class A Operations,9,requests,1,USD,"
    "regular,images\n"
    "2026-11-03,2026-11-03T01:00:00Z,Compute Engine,Network Internet Egress,9,bytes,1,USD,regular,vm\n"
    "2026-11-03,2026-11-03T01:00:00Z,Cloud Storage,Download APAC,0,bytes,0.1,USD,tax,\n"
)


@pytest.mark.parametrize("sign", [".", "_"])
def test_googles_billing_export_counts_downloads_and_class_b_operations(sign: str) -> None:
    rows = read(GOOGLE.replace(".", sign) + GOOGLE_ROWS)

    assert rows == [
        ReportedRead(DAY, DAY + 3600, "images", 0, 5_000_000_000, 0.56, "USD"),
        ReportedRead(DAY, DAY + 3600, "images", 700, 0, 0.00028, "USD"),
    ]


def test_googles_standard_export_names_no_buckets_and_one_without_a_column_says_which() -> None:
    (first, _) = read(GOOGLE.replace(",resource.name", "") + GOOGLE_ROWS.replace(",images", ""))
    assert first.bucket == ""

    with pytest.raises(ReportError, match=r"usage\.unit: there is no such column in this Google billing export"):
        format_of(GOOGLE.replace("usage.unit,", "").strip().split(","))


def test_azures_focus_export_has_storage_accounts_as_resources_and_counts_operations_in_units() -> None:
    account = "/subscriptions/1-2/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/AcmeImages"
    head = (
        "ChargeCategory,ChargePeriodStart,ChargePeriodEnd,ResourceId,ConsumedQuantity,ConsumedUnit,x_SkuMeterName,"
        "EffectiveCost"
    )
    times = "Usage,2026-11-03T00:00:00Z,2026-11-04T00:00:00Z"
    text = (
        f"{head}\n{times},{account},2,GB,Standard Data Transfer Out,0.17\n"
        f"{times},{account},30000,Units,Hot Read Operations,0.01\n"
        f"{times},{account},30000,Units,Hot LRS Write Operations,0.01\n"
        f"{times},{account},5,GB,Standard Data Transfer In,0\n"
    )

    assert [(each.bucket, each.requests, each.sent) for each in read(text)] == [
        ("acmeimages", 0, 2 * GIB),
        ("acmeimages", 30_000, 0),
    ]


def test_a_quantity_without_its_column_is_named() -> None:
    with pytest.raises(ReportError, match="ConsumedQuantity: expected a number, got nothing"):
        read(
            "ChargePeriodStart,ChargePeriodEnd,ResourceId,ConsumedUnit,SkuMeter\n"
            "2026-11-03T00:00:00Z,2026-11-03T01:00:00Z,images,GiB,egress\n"
        )
