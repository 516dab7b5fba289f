"""Settings as they are given: a file, an environment, secret directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.config.loading import Loaded, load
from shield.config.settings import Settings
from shield.errors import ConfigError

SECRET = "hunter2/VerySecret+1"
DOCUMENTED = """\
node: fra-1
listen: 127.0.0.1:8080            # also a list
admin: {listen: 127.0.0.1:9180}
origins:                          # by name, lower case
  fra:
    provider: ceph                # aws gcs r2 b2 wasabi minio ceph swift http (plain, unsigned)
    endpoint: http://127.0.0.1:5001
    region: eu-central-1
    bucket: images
    access_key_id: AKEXAMPLE
    secret_key: secretexample
    role: primary                 # or replica
  iad:
    provider: aws
    endpoint: http://127.0.0.1:5002
    region: us-east-1
    bucket: images-iad
    access_key_id: AKOTHER
    secret_key: othersecret
    role: replica
cache:
  memory: {capacity: 256MiB}
"""
"""The file that the project promises to accept as it stands."""

PLAIN = "origins:\n  fra:\n    provider: http\n    endpoint: http://127.0.0.1:5001\n"
SIGNED = "origins:\n  fra:\n    provider: minio\n    endpoint: http://127.0.0.1:5001\n    bucket: b\n"


class Ground:
    """A directory with a settings file, environment and secret directories."""

    def __init__(self, path: Path) -> None:
        self.file = path / "shield.yaml"
        self.shared = path / "secrets"
        self.own = path / "credentials"
        self.environ: dict[str, str] = {}

    def load(self, text: str, **environ: str) -> Loaded:
        self.file.write_text(text)
        self.file.chmod(0o600)
        own = {"CREDENTIALS_DIRECTORY": str(self.own)} if self.own.exists() else {}
        return load(self.file, environ={"PATH": "/bin", **own, **environ}, secret_directories=[self.shared])

    def settings(self, text: str, **environ: str) -> Settings:
        return self.load(text, **environ).settings

    def problems(self, text: str, **environ: str) -> list[str]:
        """Without the directory, for reading."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, **environ)
        return [problem.replace(f"{self.file.parent}/", "") for problem in caught.value.problems]

    def secret(self, name: str, text: str | bytes, *, own: bool = False) -> Path:
        directory = self.own if own else self.shared
        directory.mkdir(exist_ok=True)
        (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        (directory / name).chmod(0o600)
        return directory / name
