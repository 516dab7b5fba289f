"""Tasks: `nox --list` names them, `nox -s fast -- tests/fill -x` hands arguments on.

They use the environment that nox is installed in, that of `tests/run.sh` with the extra `dev`; none makes its own.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "fast"]

PYTHON = (sys.executable, "-m")
LOCKS = {
    "node": ("--extra", "h2", "--extra", "cluster"),
    "test": ("--extra", "test"),
}  # deploy/lock/*.txt, build.txt aside, and their extras


GENERATED = {
    "config/shield.schema.json": ("schema",),
    "docs/settings.md": ("manual", "settings", "--format", "markdown"),
    "docs/commands.md": ("manual", "commands", "--format", "markdown"),
}


@nox.session
def lint(session: nox.Session) -> None:
    """Format and style, by ruff."""
    session.run(*PYTHON, "ruff", "format", "--check", ".")
    session.run(*PYTHON, "ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, by mypy in strict mode."""
    session.run(*PYTHON, "mypy", *session.posargs)


@nox.session
def fast(session: nox.Session) -> None:
    """Tests that aren't marked slow."""
    session.run(*PYTHON, "pytest", "-q", "-m", "not slow", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, in two processes at once."""
    session.run(*PYTHON, "tests.halves", "-q", *session.posargs)


@nox.session
def deep(session: nox.Session) -> None:
    """Tests that try things at random or take samples, with twenty times as many."""
    rooms = session.posargs or ("tests/rules", "tests/store", "tests/fuzz", "tests/fill", "tests/edge")
    session.run(*PYTHON, "pytest", "-q", "--timeout=7200", *rooms, env={"TEST_DEPTH": "20"})


@nox.session
def compiled(session: nox.Session) -> None:
    """Compile the source by mypyc into build/compiled, and run the tests of what is compiled there."""
    session.run("bash", "tests/compiled.sh", "-q", *session.posargs, external=True)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of all tests, processes that they start included, and what no test reaches."""
    session.run(*PYTHON, "coverage", "erase")
    session.run(*PYTHON, "coverage", "run", "-m", "pytest", "-q", "--timeout=600", *session.posargs)
    session.run(*PYTHON, "coverage", "combine", "--quiet")
    session.run(*PYTHON, "coverage", "report")


@nox.session
def bench(session: nox.Session) -> None:
    """The load test beside other servers (loadtest/README.md has more)."""
    session.run(*PYTHON, "loadtest.peers", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Every fuzz target for a minute, or those that are named."""
    session.run(*PYTHON, "tests.fuzz", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write what is generated from the source, and build the handbook as a site in build/site (extra `docs`)."""
    for target, words in GENERATED.items():
        made = Path(session.create_tmp()) / Path(target).name
        with made.open("w") as file:
            session.run(*PYTHON, "shield", *words, stdout=file)
        Path(target).write_bytes(made.read_bytes())  # only what is whole
    session.run(*PYTHON, "tests.references")
    session.run(*PYTHON, "mkdocs", "build", "--strict", "--config-file", ".mkdocs.yml", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Pin all that a node, and its tests, are made of, with hashes; `-- --upgrade` takes what is newer (network)."""
    needed = Path(session.create_tmp()) / "build.in"
    needed.write_text("\n".join(tomllib.loads(Path("pyproject.toml").read_text())["build-system"]["requires"]))
    # One file for all Pythons and systems; a line's marker says for which it is.
    compiled = (*PYTHON, "uv", "pip", "compile", "--universal", "--python-version", "3.11", "--generate-hashes")
    options = ("--quiet", "--no-emit-index-url", "--no-header", "--no-annotate", *session.posargs)
    session.run(*compiled, str(needed), *options, "--output-file", "deploy/lock/build.txt")
    for name, extras in LOCKS.items():
        same = ("--constraint", "deploy/lock/build.txt" if name == "node" else "deploy/lock/node.txt")
        session.run(*compiled, "pyproject.toml", *extras, *same, *options, "--output-file", f"deploy/lock/{name}.txt")


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of what is locked (extra `audit`; asks a database over the network)."""
    for name in LOCKS:
        options = ("--strict", "--require-hashes", "--disable-pip", "--requirement", f"deploy/lock/{name}.txt")
        session.run(*PYTHON, "pip_audit", *options, *session.posargs)


@nox.session
def sbom(session: nox.Session) -> None:
    """What a node is made of, as build/sbom.cdx.json (extra `audit`)."""
    Path("build").mkdir(exist_ok=True)
    options = ("--pyproject", "pyproject.toml", "--output-file", "build/sbom.cdx.json", "--output-reproducible")
    session.run(*PYTHON, "cyclonedx_py", "requirements", "deploy/lock/node.txt", *options, *session.posargs)
