"""Tasks: `nox --list` names them, `nox -s fast -- tests/fill -x` hands arguments on.

They use the environment that nox is installed in, that of `tests/run.sh` with the extra `dev`; none makes its own.
"""

from __future__ import annotations

import sys

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "fast"]

PYTHON = (sys.executable, "-m")


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
    """All tests."""
    session.run(*PYTHON, "pytest", "-q", *session.posargs)


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
