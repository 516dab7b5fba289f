from __future__ import annotations

import subprocess

import pytest

from tests.deploy.tools import INSTALL_SECONDS, base_python, checkout, plain_environment


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which pip installs from a stock of wheels: those of Shield's dependencies and its builder."""
    directory = tmp_path_factory.mktemp("wheels")
    source = checkout(tmp_path_factory.mktemp("source"))
    pip, lock = (base_python(), "-m", "pip"), source / "deploy" / "lock"
    # Built from their sources, where there are no wheels of them.
    words = (*pip, "wheel", "-q", "--no-deps", "-w", directory, "-r", lock / "node.txt", "-r", lock / "build.txt")
    command = [str(word) for word in words]
    made = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if made.returncode:
        pytest.skip(f"no wheels can be had: {made.stderr.strip()[-300:]}")
    return plain_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(directory))
