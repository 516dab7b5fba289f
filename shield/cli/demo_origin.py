"""One S3 server of the demo, in a process of its own: moto, checking signatures.

Run as `python -m shield.cli.demo_origin REGION BUCKET`. The first line on standard output is JSON with its URL and
credentials; then it obeys lines on standard input: `put KEY LENGTH` followed by that many bytes, `secure`, `stop`,
`start`, and ends with its input. It answers each with `ok`. moto keeps its objects in the process, so a stopped one
still has them when it starts again.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import urllib.request
from typing import Any

_POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def main(region: str, bucket: str) -> None:
    """Serve until standard input ends."""
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1000000"  # until `secure`
    logging.disable(logging.CRITICAL)
    import boto3
    from moto.server import ThreadedMotoServer

    port = _free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{port}"
    anyone = {
        "endpoint_url": url,
        "region_name": region,
        "aws_access_key_id": "setup",
        "aws_secret_access_key": "setup",
    }
    key = _make_user(boto3.client("iam", **anyone))
    s3 = boto3.client("s3", **anyone)
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=bucket, **where)
    _say(json.dumps({"url": url, "access_key_id": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}))
    while line := sys.stdin.buffer.readline().decode().split():
        match line:
            case ["put", name, length]:
                body = sys.stdin.buffer.read(int(length))
                s3.put_object(Bucket=bucket, Key=name, Body=body, ContentType="image/png", ChecksumAlgorithm="SHA256")
            case ["secure"]:
                plain = {"content-type": "text/plain"}
                urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", plain)).close()
            case ["stop"]:
                server.stop()
            case ["start"]:
                server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
                server.start()
        _say("ok")
    server.stop()


def _make_user(iam: Any) -> dict[str, str]:
    iam.create_user(UserName="shield")
    iam.put_user_policy(UserName="shield", PolicyName="all", PolicyDocument=json.dumps(_POLICY))
    made: dict[str, str] = iam.create_access_key(UserName="shield")["AccessKey"]
    return made


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
