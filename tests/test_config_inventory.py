"""All values of settings with their sources, and what differs between two editions; without secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shield.config.inventory import changes, inventory
from shield.config.loading import Loaded, load
from tests.ground import DOCUMENTED, PLAIN, SIGNED

HERE = "shield.yaml"
SECRET = "hunter2-0123456789abcdef"
TOKEN = f"admin: {{tokens: {{oncall: {{role: operate, secret: {SECRET}}}}}}}\n"


def loaded(tmp_path: Path, text: str, *, secrets: Path | None = None, **environ: str) -> Loaded:
    file = tmp_path / HERE
    file.write_text(text)
    return load(file, environ=environ, secret_directories=[] if secrets is None else [secrets])


def values(found: Loaded) -> dict[str, tuple[Any, str]]:
    return {each.key: (each.value, each.source) for each in inventory(found)}


def test_each_value_has_the_place_where_it_was_given(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "shield_log__level").write_text("error")
    text = PLAIN + "cache:\n  memory:\n    capacity: 1GiB\naccess: off\nlisten: [':80', '[::1]:81']\n"
    text += "freshness: {grace: 5s}\nroutes: {a: {match: /, freshness: {error_grace: 7s}}}\n"

    found = values(loaded(tmp_path, text, secrets=secrets, SHIELD_WORKERS="2"))

    file = str(tmp_path / HERE)
    assert found["cache.memory.capacity"] == (1 << 30, f"{file}:7")
    assert found["cache.memory.max_entry"] == (None, "default")
    assert found["access.allow"] == ("all", f"{file}:8")
    assert found["listen"] == (["0.0.0.0:80", "[::1]:81"], f"{file}:9")
    assert found["routes.a.freshness.grace"] == (5.0, f"{file}:10")
    assert found["routes.a.freshness.error_grace"] == (7.0, f"{file}:11")
    assert found["routes.a.freshness.heuristic_fraction"][1] == "default"
    assert found["workers"] == (2, "SHIELD_WORKERS")
    assert found["log.level"] == ("error", str(secrets / "shield_log__level"))
    assert found["admin.listen"] == ("127.0.0.1:9180", "default")


def test_values_in_lists_of_sections_have_their_places(tmp_path: Path) -> None:
    tier = f"{{name: disk, directories: [{{path: {tmp_path}/a, capacity: 1GiB}}]}}"

    found = values(loaded(tmp_path, f"{PLAIN}cache:\n  tiers:\n    - {tier}\n"))

    assert found["cache.tiers[0].directories[0].capacity"] == (1 << 30, f"{tmp_path / HERE}:7")
    assert found["cache.tiers[0].directories[0].free_floor"][1] == "default"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    keys = "    access_key_id: hunter2\n    credentials: {command: [/bin/true, hunter2]}\n"
    text = SIGNED + keys.splitlines()[1] + "\n" + TOKEN
    text += (
        f"access: {{header: {{secrets: [{SECRET}, {SECRET}2]}}, signed_urls: {{keys: {{k1: {SECRET}{SECRET}}}}}}}\n"
    )

    found, line = values(loaded(tmp_path, text)), text.splitlines().index(TOKEN.strip()) + 1

    assert "hunter2" not in json.dumps(found)
    assert found["admin.tokens.oncall.secret"] == ("***", f"{tmp_path / HERE}:{line}")
    assert found["access.header.secrets"][0] == ["***", "***"]
    assert found["access.signed_urls.keys.k1"][0] == "***"
    assert found["origins.fra.credentials.command"][0] == ["/bin/true", "***"]


def test_all_values_of_the_documented_settings_are_plain(tmp_path: Path) -> None:
    found = values(loaded(tmp_path, DOCUMENTED))

    assert len(found) > 100
    assert not [key for key, (value, _) in found.items() if "object at" in json.dumps(value, allow_nan=False)]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (PLAIN, []),
        (PLAIN + "workers: 2\n", [("workers", 1, 2, True)]),
        (PLAIN + "log: {level: debug}\n", [("log.level", "info", "debug", False)]),
        (PLAIN + "freshness: {grace: 5s}\n", [("freshness.grace", 30.0, 5.0, False)]),
        (PLAIN + "cache: {memory: {capacity: 1GiB}}\n", [("cache.memory.capacity", 256 << 20, 1 << 30, True)]),
        (
            PLAIN + TOKEN,
            [
                ("admin.tokens.oncall.role", None, "operate", False),
                ("admin.tokens.oncall.secret", None, "***", False),
            ],
        ),
        (
            PLAIN + "  iad: {provider: http, endpoint: 'http://127.0.0.1:2'}\n",
            [
                ("origins.iad.provider", None, "http", False),
                ("origins.iad.endpoint", None, "http://127.0.0.1:2", False),
            ],
        ),
    ],
)
def test_what_differs_is_told_once_and_whether_it_waits(
    tmp_path: Path, after: str, expected: list[tuple[Any, ...]]
) -> None:
    running = loaded(tmp_path, PLAIN)

    found = changes(running, loaded(tmp_path, after))

    assert [(each.key, each.before, each.after, each.needs_restart) for each in found] == expected
    assert all(each.source.startswith(str(tmp_path)) for each in found)


def test_another_secret_is_a_change_and_is_not_shown(tmp_path: Path) -> None:
    running = loaded(tmp_path, PLAIN + TOKEN)

    found = changes(running, loaded(tmp_path, PLAIN + TOKEN.replace("hunter2", "hunter3")))

    assert [(each.key, each.before, each.after) for each in found] == [("admin.tokens.oncall.secret", "***", "***")]


def test_what_goes_is_told_with_the_place_where_it_was(tmp_path: Path) -> None:
    running = loaded(tmp_path, PLAIN + "log: {level: debug}\n" + TOKEN)

    found = changes(running, loaded(tmp_path, PLAIN))

    assert [(each.key, each.after) for each in found] == [
        ("admin.tokens.oncall.role", None),
        ("admin.tokens.oncall.secret", None),
        ("log.level", "info"),
    ]
    assert all(each.source.startswith(str(tmp_path)) for each in found[:2])
