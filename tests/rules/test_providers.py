from __future__ import annotations

from dataclasses import replace

import pytest

from shield.errors import ConfigError
from shield.rules.providers import PROVIDERS, Addressing, locate


@pytest.mark.parametrize(
    ("provider", "endpoint", "region", "addressing", "url"),
    [
        ("aws", None, "eu-west-1", "auto", "https://images.s3.eu-west-1.amazonaws.com/a.jpg"),
        ("aws", None, "eu-west-1", "path", "https://s3.eu-west-1.amazonaws.com/images/a.jpg"),
        ("aws", "http://127.0.0.1:5002", "us-east-1", "auto", "http://127.0.0.1:5002/images/a.jpg"),
        ("gcs", None, None, "auto", "https://storage.googleapis.com/images/a.jpg"),
        (
            "r2",
            "https://0a.r2.cloudflarestorage.com",
            None,
            "auto",
            "https://0a.r2.cloudflarestorage.com/images/a.jpg",
        ),
        ("b2", None, "us-west-004", "auto", "https://s3.us-west-004.backblazeb2.com/images/a.jpg"),
        ("wasabi", None, "eu-central-1", "virtual", "https://images.s3.eu-central-1.wasabisys.com/a.jpg"),
        ("minio", "https://minio.lan:9000/", None, "auto", "https://minio.lan:9000/images/a.jpg"),
        ("ceph", "http://[fd00::1]:7480", None, "auto", "http://[fd00::1]:7480/images/a.jpg"),
        ("swift", "https://swift.lan:443", None, "auto", "https://swift.lan/images/a.jpg"),
        ("http", "http://files.lan/static/", None, "auto", "http://files.lan/static/images/a.jpg"),
    ],
)
def test_where_an_object_is(
    provider: str, endpoint: str | None, region: str | None, addressing: Addressing, url: str
) -> None:
    found = locate(PROVIDERS[provider], endpoint=endpoint, region=region, bucket="images", addressing=addressing)

    assert found.object_url(b"/a.jpg") == url
    assert found.object_url(b"/a.jpg", b"w=1") == url + "?w=1"


def test_a_bucket_with_dots_is_not_put_into_a_tls_host_name() -> None:
    found = locate(PROVIDERS["aws"], endpoint=None, region="us-east-1", bucket="a.b")

    assert found.authority == b"s3.us-east-1.amazonaws.com"
    assert found.base == b"/a.b"


@pytest.mark.parametrize(
    ("provider", "endpoint", "expected"),
    [
        ("aws", "https://s3.eu-north-1.amazonaws.com", b"eu-north-1"),
        ("aws", "https://s3.dualstack.ap-south-1.amazonaws.com", b"ap-south-1"),
        ("b2", "https://s3.eu-central-003.backblazeb2.com", b"eu-central-003"),
        ("wasabi", "https://s3.ap-northeast-1.wasabisys.com", b"ap-northeast-1"),
        ("wasabi", "https://s3.wasabisys.com", b"us-east-1"),
        ("r2", "https://0a.r2.cloudflarestorage.com", b"auto"),
    ],
)
def test_the_region_is_found_in_the_endpoint_where_it_is_not_configured(
    provider: str, endpoint: str, expected: bytes
) -> None:
    assert locate(PROVIDERS[provider], endpoint=endpoint, region=None, bucket="b").region == expected


@pytest.mark.parametrize("addressing", ["path", "virtual"])
def test_the_roots_dot_is_for_look_ups_alone(addressing: Addressing) -> None:
    plain, rooted = (
        locate(
            PROVIDERS["aws"],
            endpoint=f"https://s3.eu-north-1.amazonaws.com{dot}:8443",
            region=None,
            bucket="images",
            addressing=addressing,
        )
        for dot in ("", ".")
    )

    assert rooted.name == f"{plain.host}."
    assert plain.name == plain.host
    assert replace(rooted, rooted=False) == plain


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_no_server_of_names_is_asked_for_has_no_roots_dot(host: str) -> None:
    assert locate(PROVIDERS["http"], endpoint=f"http://{host}.", region=None, bucket=None).name == host


def test_a_plain_origin_needs_no_bucket() -> None:
    found = locate(PROVIDERS["http"], endpoint="http://files.lan:8000", region=None, bucket=None)

    assert (found.base, found.authority, found.tls) == (b"", b"files.lan:8000", False)


@pytest.mark.parametrize(
    ("provider", "endpoint", "region", "bucket", "addressing", "key"),
    [
        ("aws", None, None, "b", "auto", "region"),
        ("b2", "https://cdn.example", None, "b", "auto", "region"),
        ("minio", None, None, "b", "auto", "endpoint"),
        ("minio", "ftp://x", None, "b", "auto", "endpoint"),
        ("minio", "http://x:port", None, "b", "auto", "endpoint"),
        ("minio", "http://x", None, None, "auto", "bucket"),
        ("minio", "http://127.0.0.1:9000", None, "b", "virtual", "addressing"),
    ],
)
def test_what_is_missing_or_unusable_is_named(
    provider: str, endpoint: str | None, region: str | None, bucket: str | None, addressing: Addressing, key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        locate(PROVIDERS[provider], endpoint=endpoint, region=region, bucket=bucket, addressing=addressing)

    assert caught.value.problems[0].startswith(f"{key}: ")
