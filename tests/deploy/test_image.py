"""The image: its Dockerfile is good by the linter's rules and by ours, and what it runs gives a node that works."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from shield import __version__
from tests.deploy.tools import ROOT, base_python, checkout, program, run

DOCKERFILE = ROOT / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Words and arguments in their order, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def stages() -> list[list[tuple[str, str]]]:
    made: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            made.append([])
        if made:
            made[-1].append((word, rest))
    return made


def last(word: str) -> str:
    """Of the image's own stage."""
    return [rest for name, rest in stages()[-1] if name == word][-1]


def test_the_linter_finds_nothing() -> None:
    assert run(program("hadolint"), "--failure-threshold", "style", DOCKERFILE) == ""


def test_it_runs_as_a_user_without_a_name_and_not_as_root() -> None:
    user, _, group = last("USER").partition(":")

    assert int(user) >= 10_000 and int(group) >= 10_000  # a number, so that runAsNonRoot can be checked


def test_it_is_stopped_probed_and_started_as_a_node_is() -> None:
    probe = last("HEALTHCHECK")

    assert last("STOPSIGNAL") == "SIGTERM"
    assert json.loads(last("ENTRYPOINT")) + json.loads(last("CMD"))[:1] == ["shield", "serve"]
    assert json.loads(probe[probe.index("[") :])[:2] == ["shield", "health"]
    assert last("EXPOSE").split() == ["8080", "9180"]
    assert last("VOLUME") == "/var/cache/shield"


def test_its_labels_say_what_it_is() -> None:
    labels = dict(word.split("=", 1) for word in shlex.split(last("LABEL")))
    arguments = dict(rest.split("=", 1) for word, rest in stages()[-1] if word == "ARG")

    assert set(labels) >= {f"org.opencontainers.image.{name}" for name in ("title", "version", "revision")}
    assert arguments["VERSION"] == __version__


def test_nothing_is_run_in_the_last_stage_and_it_gets_no_sources() -> None:
    assert [rest for word, rest in stages()[-1] if word == "RUN"] == []
    assert all(rest.startswith("--from=build ") for word, rest in stages()[-1] if word == "COPY")


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    wanted = [name for word, rest in stages()[0] if word == "COPY" for name in rest.split()[:-1]]

    assert wanted
    for name in wanted:
        assert (ROOT / name).exists() and f"!{name}" in ignored
    assert "*" in ignored  # all else, secrets included


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_it_runs_makes_a_command_that_works_with_nothing_but_what_a_node_needs(
    tmp_path: Path, wheels: dict[str, str]
) -> None:
    """The RUN lines as they are, with their absolute paths below a directory of ours."""
    source = checkout(tmp_path)
    places = {"/src": source, "/wheels": tmp_path / "wheels", "/opt/shield": tmp_path / "opt/shield"}
    places |= {"/empty": tmp_path / "empty", "/build": tmp_path / "build"}
    for line in [rest for word, rest in stages()[0] if word == "RUN"]:
        script = re.sub(r"(^|&& )python ", rf"\1{base_python()} ", line)
        for place, ours in places.items():
            script = re.sub(rf"(?<=\s){place}(?=[/\s]|$)", str(ours), script)
        run("sh", "-ec", script, cwd=source, env=wheels)

    shield = places["/opt/shield"] / "bin" / "shield"
    config = tmp_path / "shield.yaml"
    config.write_text(yaml.safe_dump({"origins": {"fra": {"provider": "http", "endpoint": "http://127.0.0.1:9"}}}))
    config.chmod(0o600)
    assert run(shield, "--version", cwd=tmp_path, env=wheels).startswith(f"shield {__version__} (Python ")
    assert "settings can be used" in run(shield, "check", "--config", config, cwd=tmp_path, env=wheels)
    assert "unhealthy" in run(shield, "health", "--config", config, cwd=tmp_path, env=wheels, fails=True)
    assert not list((tmp_path / "opt/shield").rglob("site-packages/pytest"))
    assert not list((tmp_path / "opt/shield").rglob("site-packages/pip"))
