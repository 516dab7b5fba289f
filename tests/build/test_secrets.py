"""Secrets and certificates in files that others replace while the node runs."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loadtest.processes import free_port
from shield.build.secrets import SecretFiles
from shield.config.anew import Anew
from shield.config.loading import Loaded, SettingsSource, load
from shield.edge.tls import ServerContext
from shield.rules.alarms import AlarmKind
from shield.rules.certificates import parse_expiry
from tests.doubles.certificates import Authority
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield

REGION = "eu-central-1"
IDS = {"1": "AKONE", "2": "AKTWO", "3": "AKTHREE"}


def write(directory: Path, version: str, *keys: str) -> None:
    """The credentials of a version, or some of them."""
    said = {"access_key_id": IDS[version], "secret_key": f"secret{version}", "session_token": f"token{version}"}
    for key in keys or said:
        (directory / f".{key}").write_text(said[key] + "\n")
        (directory / f".{key}").rename(directory / key)


def trust(origin: FaultyOrigin, version: str) -> None:
    origin.trusts(IDS[version], f"secret{version}", region=REGION, session_token=f"token{version}")


def loaded(directory: Path, origin: FaultyOrigin, **more: Any) -> Loaded:
    keys = ("access_key_id", "secret_key", "session_token")
    settings = {
        "node": "test-1",
        "origins": {
            "fra": {
                "provider": "ceph",
                "endpoint": origin.url,
                "region": REGION,
                "bucket": "images",
                **{f"{key}_file": key for key in keys},
            }
        },
        **more,
    }
    return read(directory, settings)


def read(directory: Path, settings: Mapping[str, Any]) -> Loaded:
    (directory / "shield.yaml").write_text(json.dumps(settings))
    return load(directory / "shield.yaml", environ={}, secret_directories=())


def node(made: Loaded, clock: FakeClock) -> Shield:
    return Shield(made.settings, clock=clock, loaded=made)


def look(shield: Shield) -> None:
    """What happens once a second, to its end."""

    async def work() -> None:
        shield.node.tick()
        await shield.node.secrets.look()

    shield.run(work())


@pytest.fixture(autouse=True)
def served(origin: FaultyOrigin, tmp_path: Path) -> None:
    for number in range(6):
        origin.serves(f"/images/{number}", b"x", lifetime=60)
    trust(origin, "1")
    write(tmp_path, "1")


# credentials


def test_credentials_that_were_replaced_are_used_at_the_first_refusal(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    with node(loaded(tmp_path, origin), clock) as shield:
        before = shield.get("/0").status
        write(tmp_path, "2")
        trust(origin, "2")
        after = [shield.get(f"/{number}").status for number in (1, 2)]

    assert [before, *after] == [200, 200, 200]
    assert (origin.fetches("/images/1"), origin.fetches("/images/2")) == (2, 1)


def test_credentials_that_were_replaced_are_on_trial_before_anything_is_refused(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    with node(loaded(tmp_path, origin), clock) as shield:
        look(shield)
        write(tmp_path, "2")
        trust(origin, "2")
        look(shield)
        stage = shield.state()["origins"]["fra"]["credentials"]["stage"]
        answers = [shield.get(f"/{number}").status for number in (1, 2)]

    assert stage in ("probing", "shared")
    assert (answers, origin.fetches("/images/2")) == ([200, 200], 1)


def test_a_set_that_is_half_replaced_is_not_used(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    with node(loaded(tmp_path, origin), clock) as shield:
        look(shield)
        write(tmp_path, "2", "access_key_id", "secret_key")
        look(shield)
        before = shield.get("/0").status
        trust(origin, "2")
        write(tmp_path, "2", "session_token")
        after = shield.get("/1").status

    assert (before, after) == (200, 200)
    assert origin.fetches("/images/0") == 1


def test_a_set_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Anew):
        def __init__(self, source: SettingsSource) -> None:
            super().__init__(source)
            if "3" not in (tmp_path / "secret_key").read_text():
                write(tmp_path, "3")

    with node(loaded(tmp_path, origin), clock) as shield:
        look(shield)
        monkeypatch.setattr("shield.build.secrets.Anew", Interrupted)
        write(tmp_path, "2")
        shield.run(shield.node.secrets.look())
        before = shield.get("/0").status
        trust(origin, "3")
        after = shield.get("/1").status

    assert (before, after, origin.fetches("/images/0")) == (200, 200, 1)


def test_a_link_to_a_directory_of_credentials_may_be_swapped(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        write(tmp_path / version, version)
    (tmp_path / "data").symlink_to("1")
    for key in ("access_key_id", "secret_key", "session_token"):
        (tmp_path / key).unlink()
        (tmp_path / key).symlink_to(f"data/{key}")
    with node(loaded(tmp_path, origin), clock) as shield:
        look(shield)
        (tmp_path / "next").symlink_to("2")
        os.replace(tmp_path / "next", tmp_path / "data")  # noqa: PTH105  # as Kubernetes does it
        trust(origin, "2")

        assert shield.get("/0").status == 200


def test_a_file_that_is_gone_leaves_the_old_in_use_and_is_complained_of_once(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "shield.secrets"), node(loaded(tmp_path, origin), clock) as shield:
        (tmp_path / "session_token").unlink()
        for _ in range(5):
            look(shield)
        answer, alarms = shield.get("/0"), shield.call(shield.node.alarms.own_signs).troubles
        write(tmp_path, "1", "session_token")
        look(shield)
        after = shield.call(shield.node.alarms.own_signs).troubles

    assert answer.status == 200
    assert [each.key for each in alarms] == [(AlarmKind.CREDENTIALS, "fra")] and after == ()
    assert caplog.messages == [f"origins.fra: the old contents stay in use: {tmp_path}/session_token is gone"]


@pytest.mark.parametrize("text", ["", "two words", "\xff"])
def test_a_file_that_holds_no_secret_leaves_the_old_in_use(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    with caplog.at_level(logging.WARNING, "shield.secrets"), node(loaded(tmp_path, origin), clock) as shield:
        look(shield)
        write(tmp_path, "2")
        (tmp_path / "secret_key").write_bytes(text.encode("latin-1"))
        look(shield)
        before, said = shield.get("/0").status, " ".join(caplog.messages)
        write(tmp_path, "2")
        trust(origin, "2")
        after = shield.get("/1").status

    assert (before, after) == (200, 200)
    assert "origins.fra: the old contents stay in use" in said and "secret_key" in said
    assert "two words" not in said


def test_credentials_that_are_wrong_for_good_are_asked_with_once(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    with node(loaded(tmp_path, origin), clock) as shield:
        shield.get("/0")
        trust(origin, "2")
        answer = shield.get("/1")

    assert (answer.status, origin.fetches("/images/1")) == (503, 1)


def test_files_that_change_again_and_again_have_a_request_repeated_once(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    with node(loaded(tmp_path, origin), clock) as shield:
        shield.get("/0")
        trust(origin, "3")
        write(tmp_path, "2")
        answer = shield.get("/1")

    assert (answer.status, origin.fetches("/images/1")) == (503, 2)


def test_credentials_that_were_replaced_before_a_worker_began_are_found(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    made = loaded(tmp_path, origin)
    write(tmp_path, "2")
    trust(origin, "2")

    with node(made, clock) as shield:
        look(shield)
        answers = [shield.get(f"/{number}").status for number in (1, 2)]

    assert (answers, origin.fetches("/images/2")) == ([200, 200], 1)


def test_what_else_was_written_meanwhile_stays_without_effect(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    with node(loaded(tmp_path, origin), clock) as shield:
        (tmp_path / "shield.yaml").write_text("nonsense")
        write(tmp_path, "2")
        trust(origin, "2")

        assert shield.get("/0").status == 200


# who may ask


def test_secrets_of_access_are_followed(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    (tmp_path / "secrets").write_text("a" * 16)
    made = loaded(tmp_path, origin, access={"header": {"secrets_file": "secrets"}})
    with node(made, clock) as shield:
        statuses = [shield.get("/0", [("x-shield-secret", letter * 16)]).status for letter in "ab"]
        look(shield)
        (tmp_path / "secrets").write_text("b" * 16)
        look(shield)
        statuses += [shield.get("/0", [("x-shield-secret", letter * 16)]).status for letter in "ab"]
        (tmp_path / "secrets").write_text("short")
        look(shield)
        statuses += [shield.get("/0", [("x-shield-secret", "b" * 16)]).status]

    assert statuses == [200, 403, 403, 200, 200]


def test_secrets_of_purges_are_followed_and_those_of_access_stay(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    for name in ("secrets", "purges"):
        (tmp_path / name).write_text("a" * 16)
    access, method = {"header": {"secrets_file": "secrets"}}, {"secrets_file": "purges"}
    with node(loaded(tmp_path, origin, access=access, purge_method=method), clock) as shield:

        def statuses() -> list[int]:
            asked = [("x-shield-secret", "b" * 16), ("fastly-key", "c" * 16)]
            return [shield.get("/0", asked[:1]).status, shield.get("/0", asked, method="PURGE").status]

        look(shield)
        before = statuses()
        (tmp_path / "secrets").write_text("b" * 16)
        look(shield)
        between = statuses()
        (tmp_path / "purges").write_text("c" * 16)
        look(shield)
        after = statuses()

    assert (before, between, after) == ([403, 403], [200, 403], [200, 200])


# certificates


def test_certificates_are_shown_once_they_and_their_keys_are_whole(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    authority, shown = Authority(), list[ServerContext]()
    certificate, key = authority.write_server(tmp_path, "localhost")
    made = loaded(tmp_path, origin, tls={"certificate_file": certificate.name, "key_file": key.name})

    with caplog.at_level(logging.WARNING, "shield.secrets"), node(made, clock) as shield:
        shield.node.secrets.show = shown.append
        look(shield)
        unchanged = list(shown)
        old = key.read_bytes()
        authority.write_server(tmp_path, "localhost")
        new, _ = key.read_bytes(), key.write_bytes(old)
        look(shield)
        broken = list(shown)
        key.write_bytes(new)
        look(shield)

    assert (unchanged, broken) == ([], [])
    assert [context.expires for context in shown] == [parse_expiry(certificate.read_bytes())] != [None]
    assert len(caplog.messages) == 1
    assert "tls: the old contents stay in use" in caplog.text and "can't be used" in caplog.text


# of a cluster


def test_secrets_and_certificates_between_nodes_are_followed(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    old, new, shown, authority = "old-" * 10, "new-" * 10, list[ServerContext](), Authority()
    (tmp_path / "secret").write_text(old)
    ca_file = authority.write(tmp_path)
    certificate, key = authority.write_server(tmp_path, "fra-1")
    tls = {"certificate_file": certificate.name, "key_file": key.name, "ca_file": ca_file.name}
    nodes = {"test-1": f"127.0.0.1:{free_port()}", "test-2": f"127.0.0.1:{free_port()}"}
    made = loaded(tmp_path, origin, cluster={"nodes": nodes, "secret_file": "secret", "tls": tls})

    with caplog.at_level(logging.INFO, "shield.secrets"), node(made, clock) as shield:
        secrets, found = shield.node.secrets, shield.node.nodes
        assert found is not None and isinstance(secrets, SecretFiles)
        secrets.show_nodes = shown.append
        look(shield)
        assert (found.secrets.accepted, shown) == ((old.encode(),), [])
        first = found._tls

        (tmp_path / "secret").write_text(f"{new}\n{old}\n")
        look(shield)
        assert found.secrets.accepted == (new.encode(), old.encode())

        (tmp_path / "secret").write_text("short")
        look(shield)
        assert found.secrets.accepted == (new.encode(), old.encode())
        assert [(cause.kind, cause.subject) for cause in secrets.troubles()] == [(AlarmKind.CREDENTIALS, "cluster")]

        authority.write_server(tmp_path, "fra-1")
        ca_file.write_text(authority.pem + Authority("the next").pem)
        look(shield)
        assert [context.expires for context in shown] == [parse_expiry(certificate.read_bytes())]
        assert found._tls is not first
    said = [message for message in caplog.messages if "used from now on" in message]
    assert [message.partition(":")[0] for message in said] == ["cluster", "cluster.tls"]


def test_a_bus_whose_password_was_replaced_is_another_one(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file, port = tmp_path / "bus", free_port()
    file.write_text("redis://:old@127.0.0.1:1/0\n")
    cluster = {"nodes": {"test-1": f"127.0.0.1:{port}"}, "secret": "x" * 32, "bus_file": "bus"}
    write(tmp_path, "1")
    made = loaded(tmp_path, origin, cluster=cluster)
    used: list[str] = []

    with node(made, clock) as shield:
        spreader = shield.node.spreader
        assert spreader is not None
        use_bus = spreader.use_bus

        def noted(make: Any) -> None:
            used.append(str(make()._address.password))
            use_bus(make)

        spreader.use_bus = noted  # type: ignore[method-assign]
        look(shield)
        (tmp_path / ".bus").write_text("redis://:new@127.0.0.1:1/0\n")
        (tmp_path / ".bus").rename(file)
        look(shield)
        look(shield)

    assert used == ["new"]
    assert sum("cluster: its files were replaced" in text for text in caplog.messages) == 1
