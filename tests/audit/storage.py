"""An S3 server that isn't ours, with several buckets, in a process of its own: moto, checking signatures.

Run as a module. The first line on standard output is JSON: its URL, the keys of a user who may do all, and those of
one who may read objects and not list buckets. It takes lines of JSON on standard input, each
`{"bucket": ..., "objects": [[key, text, seconds since it was written, encryption or null], ...]}`, which replace what
the bucket has, and answers each with `ok`.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

ACCOUNT = "123456789012"
REGION = "eu-central-1"


@dataclass(frozen=True)
class Put:
    """An object to be there, written so many seconds ago."""

    key: str
    text: str = "body"
    age: float = 86400.0
    encryption: str | None = None


class Storage:
    """The process, from outside."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.said = self._line()

    def fill(self, bucket: str, objects: Iterable[Put]) -> None:
        """Have exactly these objects in a bucket, which is made if need be."""
        wish = [[each.key, each.text, each.age, each.encryption] for each in objects]
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"bucket": bucket, "objects": wish}).encode() + b"\n")
        self._process.stdin.flush()
        assert self._line() == "ok"

    def origin(self, bucket: str, user: str = "all", **more: Any) -> dict[str, Any]:
        """Settings of an origin."""
        return {
            "provider": "aws",
            "endpoint": self.said["url"],
            "addressing": "path",
            "region": REGION,
            "bucket": bucket,
            **self.said[user],
            **more,
        }

    def _line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def storage() -> Iterator[Storage]:
    """Runs while the context does."""
    command = [sys.executable, "-m", "tests.audit.storage"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Storage(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def main() -> None:
    """Serve until standard input ends."""
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1000000"
    logging.disable(logging.CRITICAL)
    import boto3
    from moto.s3.models import s3_backends
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    iam = boto3.client(
        "iam", endpoint_url=url, region_name=REGION, aws_access_key_id="setup", aws_secret_access_key="setup"
    )
    users = {"all": _user(iam, "all", ["s3:*"]), "reader": _user(iam, "reader", ["s3:GetObject"])}
    plain = {"content-type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", plain)).close()
    _say({"url": url, **users})
    backend = s3_backends[ACCOUNT]["aws"]
    for line in sys.stdin.buffer:
        wish = json.loads(line)
        bucket = wish["bucket"]
        if bucket not in backend.buckets:
            backend.create_bucket(bucket, REGION)
        for key in list(backend.buckets[bucket].keys):
            backend.delete_object(bucket, key)
        now = datetime.now(UTC)
        for key, text, age, encryption in wish["objects"]:
            made = backend.put_object(bucket, key, text.encode(), encryption=encryption)
            made.last_modified = (now - timedelta(seconds=age)).replace(tzinfo=None)
        _say("ok")
    server.stop()


def _user(iam: Any, name: str, actions: list[str]) -> dict[str, str]:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(policy))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return {"access_key_id": made["AccessKeyId"], "secret_key": made["SecretAccessKey"]}


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
