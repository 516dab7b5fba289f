"""What pyproject.toml can't say: the modules that it lists under `tool.shield.compiled` can be compiled, by mypyc.

They are the same Python, checked by mypy, and run uncompiled as well. A hit costs an eighth less CPU compiled, a miss
of 10 KB half (`loadtest.peers --compiled`). It takes two minutes of CPU, and so is done when it is asked for:

    SHIELD_COMPILE=1 pip install .                                       an installation, compiled
    SHIELD_COMPILE=1 python setup.py build --build-lib build/compiled    a compiled copy beside a checkout; PYTHONPATH
                                                                         chooses between them
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
# The project's strict settings are for its checkout, where all packages are installed. An isolated build has none.
_OPTIONS = ("--config-file=", "--ignore-missing-imports")


def modules() -> list[str]:
    """The files to compile, relative to the root."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    chosen: set[str] = set()
    for pattern in settings["tool"]["shield"]["compiled"]:
        found = {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern.removeprefix("!"))}
        if not found:
            raise SystemExit(f"pyproject.toml, tool.shield.compiled: there is no file {pattern}")
        chosen = chosen - found if pattern.startswith("!") else chosen | found
    return sorted(chosen)


def extensions() -> list[Extension]:
    from mypyc.build import mypycify  # needed only here

    # A file for each module: those are compiled beside each other. Together they would take several GB, and longer.
    made: list[Extension] = mypycify(
        [*_OPTIONS, *modules()],
        group_name="shield",
        multi_file=True,
        opt_level=os.environ.get("SHIELD_COMPILE_LEVEL", "1"),  # 3: half as much time again, and no faster code
        debug_level="0",
    )
    return made


class ParallelBuild(build_ext):
    """Compiles the sources of an extension on all cores: setuptools would only build several extensions at once."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.extensions and (self.inplace or self.editable_mode):
            raise SystemExit("an editable installation can't be compiled: it would hide later changes of the source")

    def build_extensions(self) -> None:
        wanted = {Path(each) for each in self.get_outputs()}
        for stale in set(Path(self.build_lib).glob("shield/**/*.so")) - wanted:
            stale.unlink()  # of a module that was compiled in an earlier build: it would be imported

        one_by_one = self.compiler.compile

        def compile_all(sources: Sequence[str], *arguments: Any, **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                made = pool.map(lambda source: one_by_one([source], *arguments, **options), sources)
                return list(chain.from_iterable(made))

        self.compiler.compile = compile_all
        super().build_extensions()


if __name__ == "__main__":
    is_wanted = os.environ.get("SHIELD_COMPILE", "0") not in ("", "0")
    builds = any(word.startswith(("build", "bdist", "install", "editable")) for word in sys.argv[1:])
    setup(ext_modules=extensions() if is_wanted and builds else [], cmdclass={"build_ext": ParallelBuild})
