"""One target by libFuzzer, guided by coverage of `shield`: `python -m tests.fuzz.guided NAME DIRECTORY SECONDS`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["shield"]):
    from tests.fuzz.targets import TARGETS

HANGS = 10  # seconds for one input, after which it is reported
LONGEST = 4096  # bytes of an input


def main(name: str, directory: str, seconds: str) -> None:
    """Doesn't return. An input that fails is left in the directory."""
    target, root = TARGETS[name], Path(directory)
    corpus, words = root / "corpus", root / "words"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words if word))
    options = [f"-max_total_time={seconds}", f"-timeout={HANGS}", f"-max_len={LONGEST}", f"-dict={words}"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={root}/", *options], target.run)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(*sys.argv[1:])
