"""Settings that are shown to users, checked as if the machine had what they name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from shield.config.loading import load
from shield.config.settings import Settings
from shield.errors import ConfigError
from tests.doubles.certificates import Authority

SECRET = "0123456789abcdef0123456789abcdef"


def checked(text: str, directory: Path) -> Settings:
    """What `shield check` makes of settings, if the files that they name below /etc/shield are there.

    Secrets that aren't in the text are given as the secret files that the messages of `check` name.
    """
    etc, secrets = directory / "etc", directory / "secrets"
    etc.mkdir(mode=0o700)
    secrets.mkdir()
    authority = Authority()
    certificate, key = authority.write_server(etc, "shield.example")
    certificate.rename(etc / "tls.pem")
    key.rename(etc / "tls.key")
    for name in ("prometheus.token", "oncall.token"):
        (etc / name).write_text(f"{name}-{SECRET}")
    for name in ("cdn-ca.pem", "own-ca.pem"):
        (etc / name).write_text(authority.pem)
    (etc / "cdn.secrets").write_text(f"{SECRET}\n")
    config = etc / "shield.yaml"
    config.write_text(text.replace("/etc/shield/", f"{etc}/"))
    config.chmod(0o600)
    for name in wanted(yaml.safe_load(text)):
        (secrets / name).write_text(f"{name} {SECRET}".replace(" ", "-"))
    try:
        return load(config, environ={}, secret_directories=[secrets]).settings
    except ConfigError as error:
        raise AssertionError("\n".join(error.problems)) from None


def wanted(given: Mapping[str, Any]) -> list[str]:
    """Names of the secret files that settings need besides what they name."""
    names = [
        f"shield_origins__{name.replace('-', '_')}__{key}"
        for name, origin in given["origins"].items()
        if origin["provider"] != "http"
        for key in ("access_key_id", "secret_key")
        if key not in origin and f"{key}_file" not in origin
    ]
    names += [
        f"shield_admin__tokens__{name.replace('-', '_')}__secret"
        for name, token in (given.get("admin") or {}).get("tokens", {}).items()
        if not {"secret", "secret_file"} & set(token)
    ]
    header = (given.get("access") or {}).get("header")
    if header is not None and not {"secrets", "secrets_file"} & set(header):
        names.append("shield_access__header__secrets")
    return names
