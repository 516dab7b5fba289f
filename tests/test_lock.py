"""The lock: all that a node and its tests are made of, pinned with hashes, as pyproject.toml wants it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = {"node": {"h2", "cluster"}, "test": {"test"}}
FILES = ("build", *LOCKS)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def _lines(name: str) -> list[str]:
    """One for each pin, with its hashes."""
    text = (ROOT / f"deploy/lock/{name}.txt").read_text()
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [line for line in kept.replace("\\\n", " ").splitlines() if line.strip()]


def _pins(name: str) -> list[tuple[Requirement, list[str]]]:
    found = []
    for line in _lines(name):
        pin, *hashes = re.split(r"\s+--hash=", line.strip())
        found.append((Requirement(pin), hashes))
    return found


def _on(python: str) -> dict[str, str]:
    environment: dict[str, Any] = {**default_environment()}
    return {**environment, "python_version": python, "python_full_version": f"{python}.9", "extra": ""}


def _versions(name: str, python: str) -> dict[str, str]:
    """What is installed there, by name."""
    found: dict[str, str] = {}
    for pin, _ in _pins(name):
        if pin.marker is None or pin.marker.evaluate(_on(python)):
            assert canonicalize_name(pin.name) not in found, f"{pin.name} is pinned twice for Python {python}"
            (one,) = pin.specifier
            found[canonicalize_name(pin.name)] = one.version
    return found


def _wanted(extras: set[str]) -> Iterator[Requirement]:
    """What pyproject.toml asks for, of these extras and of those that they name."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    texts = list(project["dependencies"])
    texts += [text for extra in extras for text in project["optional-dependencies"][extra]]
    for requirement in map(Requirement, texts):
        if requirement.name == project["name"]:
            yield from _wanted(requirement.extras)
        else:
            yield requirement


@pytest.mark.parametrize("name", FILES)
def test_every_pin_is_of_one_version_and_has_hashes(name: str) -> None:
    for pin, hashes in _pins(name):
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), pin
        assert pin.url is None
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), pin


@pytest.mark.parametrize("name", FILES)
def test_a_lock_says_nothing_of_where_packages_come_from(name: str) -> None:
    text = (ROOT / f"deploy/lock/{name}.txt").read_text()

    assert "://" not in text
    assert not re.search(r"^\s*-{1,2}(?!hash=)[a-z]", text, re.MULTILINE)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("name", "extras"), LOCKS.items())
def test_what_is_locked_is_what_pyproject_asks_for(name: str, extras: set[str], python: str) -> None:
    versions = _versions(name, python)

    for requirement in _wanted(extras):
        if requirement.marker is None or requirement.marker.evaluate(_on(python)):
            locked = versions.get(canonicalize_name(requirement.name))
            assert locked is not None, f"{requirement} isn't locked: nox -s lock"
            assert requirement.specifier.contains(locked), f"{requirement}, but {locked} is locked: nox -s lock"


def test_what_builds_is_locked_as_pyproject_asks_for_it() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    versions = _versions("build", "3.11")

    for requirement in map(Requirement, settings["build-system"]["requires"]):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("python", PYTHONS)
def test_a_node_is_made_of_what_the_tests_ran_on(python: str) -> None:
    assert _versions("node", python).items() <= _versions("test", python).items()


def test_the_tests_are_not_part_of_a_node() -> None:
    assert not {"pytest", "moto", "boto3", "selenium", "mypy"} & _versions("node", "3.11").keys()


@pytest.mark.parametrize("package", ["hypercorn", "httptools", "uvicorn", "uvloop"])
def test_what_is_used_beyond_its_documentation_has_an_upper_bound(package: str) -> None:
    (requirement,) = {each for each in _wanted({"h2"}) if each.name == package}

    assert any(one.operator in ("<", "<=", "==", "~=") for one in requirement.specifier)
